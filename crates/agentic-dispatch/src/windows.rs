//! Anchored windows: where they begin.
//!
//! The anchor stands in the budget. A window that is over is begun by the first job that asks for a place after its end:
//! whoever admits that job moves the anchor, by a compare-and-set, so that of several dispatchers one does and the others
//! read what it wrote. Until then they hold the job against the window that they know, whose meter has its own cap: an
//! anchor that is out of date opens no more room than its own window has.
//!
//! Where jobs go on over the end, or have used something after it, the next window begins where the last one ended: its
//! meter is the same, and what they use is in it. Else it begins now.

use std::sync::Arc;

use agentic_core::{
    budget::Budget,
    clock::Timestamp,
    error::{ConflictCode, Error, Result},
    limit::{Meter, MeterKey, Window},
    port::{AllowanceStore, SetBudget},
};

use crate::{
    fleet::Fleet,
    limits::{LimitBook, Plan, Subject},
};

/// How often a plan is made anew because windows were begun for it.
const TRIES: usize = 3;

impl Fleet {
    /// What a job that asks for a place at `now` is held against; begins the anchored windows that are over, and reads
    /// the book anew where it did.
    pub(crate) async fn plan(
        &self,
        book: &mut Arc<LimitBook>,
        subject: &Subject<'_>,
        now: Timestamp,
    ) -> Result<Plan> {
        for _ in 0..TRIES {
            let plan = book.plan(self.policy(), subject, now);
            // What is refused by a rule begins nothing.
            if plan.over.is_empty() || plan.rule.is_some() {
                return Ok(plan);
            }
            for budget in plan.over {
                begin(&*self.ports().allowances, budget, now).await?;
            }
            *book = self.limits().await?;
        }
        Ok(book.plan(self.policy(), subject, now))
    }
}

/// Begins the windows of a budget that are over, unless somebody else did.
async fn begin(store: &dyn AllowanceStore, mut budget: Budget, now: Timestamp) -> Result<()> {
    let scope = budget.scope.clone();
    for limit in budget.limits.iter_mut().filter(|limit| limit.is_over(now)) {
        let counted = limit.limit(scope.clone()).key;
        let live = MeterKey { scope: scope.clone(), meter: Meter::ActiveJobs, window: Window::Live };
        let mut goes_on = false;
        if limit.anchor.is_some() {
            let readings = store.readings(&[counted.clone(), live], now).await?;
            goes_on = readings.iter().any(|reading| !reading.used.is_zero() || !reading.reserved.is_zero());
        }
        let on_grid = counted.window.begins_at(counted.window.bucket(now));
        limit.anchor = on_grid.filter(|_| goes_on).or(Some(now));
    }
    let seen = Some(budget.version);
    match store.set_budget(SetBudget { budget, seen, now }).await {
        Err(Error::Conflict { code: ConflictCode::StaleVersion, .. }) => Ok(()),
        other => other.map(drop),
    }
}
