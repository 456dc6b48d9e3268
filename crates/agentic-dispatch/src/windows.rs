//! Anchored windows: where they begin.
//!
//! The anchor stands in the budget. A window that is over is begun by the first job that gets a place after its end, or by
//! the first use: whoever finds room under all other limits moves the anchor, by a compare-and-set, so that of several
//! dispatchers one does and the others read what it wrote. Until then they hold the job against the window that they know,
//! whose meter has its own cap; its limits are brought up to date soon after (see `follow`).
//!
//! Where jobs go on over the end, or have used something after it, the next window begins where the last one ended: its
//! meter is the same, and what they use is in it. Else it begins now.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use agentic_core::{
    agent::AgentInfo,
    amount::Amount,
    budget::Budget,
    clock::Timestamp,
    error::{ConflictCode, Error, Result},
    lane::Lane,
    limit::{Limit, Meter, MeterKey, Reading, Scope, Window},
    port::SetBudget,
};

use crate::{
    allowances::admit,
    fleet::Fleet,
    limits::{LimitBook, Plan, Subject},
};

/// How often a plan is made anew because windows were begun for it.
const TRIES: usize = 3;

impl Fleet {
    /// What a job that asks for a place at `now` is held against; begins the anchored windows that are over, and reads
    /// the book anew where it did. What another limit or a rule refuses begins nothing.
    pub(crate) async fn plan(
        &self,
        book: &mut Arc<LimitBook>,
        subject: &Subject<'_>,
        ask: Amount,
        now: Timestamp,
    ) -> Result<Plan> {
        let plan = book.plan(self.policy(), subject, now);
        if plan.over.is_empty() || plan.rule.is_some() || !self.has_room(&plan, ask, now).await? {
            return Ok(plan);
        }
        self.plan_of_use(book, subject, now).await
    }

    /// What a task of `lane` would be held against with each of these agents, in their order, and by one read where all
    /// those limits stand: those of a model or a fleet are everybody's.
    pub(crate) async fn plans(
        &self,
        book: &LimitBook,
        agents: impl Iterator<Item = &AgentInfo>,
        lane: &Lane,
        now: Timestamp,
    ) -> Result<(Vec<Plan>, HashMap<MeterKey, Reading>)> {
        let plan = |agent| book.plan(self.policy(), &Subject::of(agent, lane), now);
        let plans: Vec<Plan> = agents.map(plan).collect();
        let capped = plans.iter().flat_map(|plan| &plan.limits).filter(|limit| limit.cap.is_some());
        let shadows = plans.iter().flat_map(|plan| &plan.shadows);
        let keys: HashSet<&MeterKey> = capped.chain(shadows).map(|limit| &limit.key).collect();
        let keys: Vec<MeterKey> = keys.into_iter().cloned().collect();
        let readings = self.ports().allowances.readings(&keys, now).await?;
        Ok((plans, keys.into_iter().zip(readings).collect()))
    }

    /// What a job that uses something at `now` counts under; begins the anchored windows that are over.
    pub(crate) async fn plan_of_use(
        &self,
        book: &mut Arc<LimitBook>,
        subject: &Subject<'_>,
        now: Timestamp,
    ) -> Result<Plan> {
        for _ in 0..TRIES {
            let plan = book.plan(self.policy(), subject, now);
            if plan.over.is_empty() {
                return Ok(plan);
            }
            for budget in plan.over {
                self.begin(budget, now).await?;
            }
            *book = self.limits().await?;
        }
        Ok(book.plan(self.policy(), subject, now))
    }

    /// Whether every limit but those whose windows are over has room.
    async fn has_room(&self, plan: &Plan, ask: Amount, now: Timestamp) -> Result<bool> {
        let is_over = |limit: &Limit| {
            let own = plan.over.iter().filter(|budget| budget.scope == limit.key.scope);
            own.flat_map(|budget| &budget.limits)
                .any(|wanted| wanted.is_over(now) && wanted.limit(limit.key.scope.clone()).key == limit.key)
        };
        let capped: Vec<&Limit> =
            plan.limits.iter().filter(|limit| limit.cap.is_some() && !is_over(limit)).collect();
        let keys: Vec<MeterKey> = capped.iter().map(|limit| limit.key.clone()).collect();
        let readings = self.ports().allowances.readings(&keys, now).await?;
        Ok(capped.iter().zip(&readings).all(|(limit, reading)| admit(limit, reading, ask).is_ok()))
    }

    /// Begins the windows that follow on those that were cut short while jobs run on: what these use counts there.
    pub(crate) async fn begin_cut(&self, now: Timestamp) -> Result<()> {
        for budget in self.limits().await?.cut(now) {
            let live = live_in(budget.scope.clone());
            let readings = self.ports().allowances.readings(&[live], now).await?;
            if readings.iter().any(|live| !live.reserved.is_zero()) {
                self.begin(budget.clone(), now).await?;
            }
        }
        Ok(())
    }

    /// Begins the windows of a budget that are over, unless somebody else did.
    async fn begin(&self, mut budget: Budget, now: Timestamp) -> Result<()> {
        let store = &self.ports().allowances;
        let scope = budget.scope.clone();
        for limit in budget.limits.iter_mut().filter(|limit| limit.is_over(now)) {
            let counted = limit.limit(scope.clone()).key;
            let live = live_in(scope.clone());
            let mut begins = None;
            if limit.anchor.is_some() {
                let readings = store.readings(&[counted.clone(), live], now).await?;
                let [used, live] = readings.as_slice() else {
                    return Err(Error::backend("the reading of two meters"));
                };
                let goes_on = !live.reserved.is_zero();
                begins = match limit.ends {
                    // It was cut short: the next one is on another grid, and its meter begins at zero.
                    Some(_) => limit.end().filter(|_| goes_on),
                    None if goes_on || !used.used.is_zero() || !used.reserved.is_zero() => {
                        counted.window.begins_at(counted.window.bucket(now))
                    }
                    None => None,
                };
            }
            limit.anchor = begins.or(Some(now));
            limit.ends = None;
        }
        let seen = Some(budget.version);
        match store.set_budget(SetBudget { budget, seen, now }).await {
            Err(Error::Conflict { code: ConflictCode::StaleVersion, .. }) => Ok(()),
            other => other.map(drop),
        }
    }
}

/// The meter of what runs under a scope.
fn live_in(scope: Scope) -> MeterKey {
    MeterKey { scope, meter: Meter::ActiveJobs, window: Window::Live }
}
