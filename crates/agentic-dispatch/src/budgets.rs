//! The service of budgets: further limits of any scope.

use std::time::Duration;

use agentic_core::{
    budget::{Budget, BudgetLimit, Hold, LONGEST_HOLD, Standing},
    clock::Timestamp,
    error::{ConflictCode, Error, Kind, Result},
    id::{AgentId, ModelName},
    limit::{Scope, Window},
    port::{SetBudget, Wake},
};

use crate::allowances::AllowanceService;

/// How often a change is made anew because the budget moved between the read and the step.
const TRIES: usize = 5;
/// Why a scope is on hold that an agent spoke of.
pub(crate) const USED_UP: &str = "the provider's usage limit is used up";

/// What a provider's usage limit is about: the agent's use of the model; of a job without a model, all it does.
pub(crate) fn usage_scope(agent: AgentId, model: Option<ModelName>) -> Scope {
    match model {
        Some(model) => Scope::AgentModel(agent, model),
        None => Scope::Agent(agent),
    }
}

/// Lets the window of a limit that is set again go on: what was used in it is not forgotten.
fn go_on(limit: &mut BudgetLimit, stands: &BudgetLimit, i: usize, now: Timestamp) -> Result<()> {
    let refuse = |field: &str, detail: String| Err(Error::invalid(format!("limits[{i}].{field}"), detail));
    if limit.ends.is_some_and(|ends| ends <= now) && limit.ends != stands.ends {
        return refuse("ends", "must be in the future".to_owned());
    }
    let used = stands.standing.as_ref().is_some_and(|s| !s.used.is_zero() || !s.reserved.is_zero());
    let mut present = stands.clone();
    if stands.is_over(now) && !stands.is_cut(now) && used {
        // It went on by itself.
        let window = stands.limit(Scope::Fleet).key.window;
        present.anchor = window.begins_at(window.bucket(now));
    }
    let named = limit.anchor.filter(|anchor| ![stands.anchor, present.anchor].contains(&Some(*anchor)));
    match (present.end().filter(|end| *end > now), named) {
        (None, Some(_)) => {}
        (Some(_), Some(_)) if !used => {}
        (Some(end), Some(_)) => {
            let wanted = BudgetLimit { ends: None, ..limit.clone() }.end();
            if wanted.is_none_or(|wanted| wanted <= now || wanted > end) {
                let detail = format!(
                    "the present window has counted use: its end, {end}, can be brought forward to a time to come, or \
                     be named once the next window has begun"
                );
                return refuse("anchor", detail);
            }
            limit.anchor = present.anchor;
            limit.ends = [wanted, limit.ends, present.ends].into_iter().flatten().min();
        }
        (_, None) => {
            limit.anchor = present.anchor;
            let sooner = limit.ends.into_iter().chain(present.ends.filter(|_| used)).min();
            limit.ends = sooner.or(present.ends);
        }
    }
    Ok(())
}

impl AllowanceService {
    /// A budget, and how it stands.
    ///
    /// # Errors
    /// `NotFound` when the scope has none.
    pub async fn budget(&self, scope: &Scope) -> Result<Budget> {
        let budget = self.find(scope).await?.ok_or_else(|| Error::not_found(Kind::Budget, scope))?;
        Ok(self.standing(vec![budget]).await?.remove(0))
    }

    /// All budgets, ascending by scope, and how they stand; without what a hold that is over has left.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn budgets(&self) -> Result<Vec<Budget>> {
        let mut budgets = self.standing(self.fleet.ports().allowances.budgets().await?).await?;
        budgets.retain(|budget| !budget.limits.is_empty() || budget.hold.is_some());
        Ok(budgets)
    }

    /// Sets a budget, and wakes what waits for its scope. A version that is not 0 is the one that it must have until now;
    /// without one, a hold that is on stays on. A window that goes on keeps its anchor: another one that is named brings
    /// its end forward, and what was used in it until then is not forgotten.
    ///
    /// # Errors
    /// `Invalid`, also for an anchor that would put off the end of a window in which something was used; `Conflict`
    /// `stale_version`.
    pub async fn set_budget(&self, wanted: Budget) -> Result<Budget> {
        wanted.validate()?;
        let (scope, now) = (wanted.scope.clone(), self.fleet.now());
        let set = self
            .change(&scope, |stands| {
                if wanted.version != 0 && wanted.version != stands.version {
                    return Err(agentic_core::engine::agents::stale_version(&scope));
                }
                let mut next = wanted.clone();
                if wanted.version == 0 {
                    next.hold = next.hold.or(stands.hold);
                }
                for (i, limit) in next.limits.iter_mut().enumerate() {
                    let same =
                        |other: &&BudgetLimit| (other.meter, other.window) == (limit.meter, limit.window);
                    if let Some(stands) = stands.limits.iter().find(same) {
                        go_on(limit, stands, i, now)?;
                    }
                }
                Ok(Some(next))
            })
            .await?;
        self.wake(Wake::Scope(scope)).await?;
        Ok(set)
    }

    /// Removes a budget, its hold too, and wakes what waits for its scope.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_budget(&self, scope: &Scope) -> Result<()> {
        self.fleet.ports().allowances.delete_budget(scope, self.fleet.now()).await?;
        self.wake(Wake::Scope(scope.clone())).await
    }

    /// Admits nothing under a scope until `until`, at most [`LONGEST_HOLD`] from now: a provider said that its limit is
    /// used up. A hold that is on is not cut short. The present window of the shortest anchored limit of the scope that can
    /// be the one then ends at that reset, if it would not before; a longer one goes on.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn hold(&self, scope: &Scope, until: Timestamp, reason: &str) -> Result<()> {
        let now = self.fleet.now();
        let named = until;
        let until = named.min(now.plus(LONGEST_HOLD));
        if until <= now {
            return Ok(());
        }
        let further = (named > until).then_some(named);
        let hold = Hold { until, named: further, reason: reason.to_owned() };
        self.change(scope, |mut budget| {
            // What was cut to the longest hold is not begun anew each time it is said.
            if budget.held_at(now).is_some_and(|stands| stands.named.unwrap_or(stands.until) >= named) {
                return Ok(None);
            }
            let can_be = |limit: &&mut BudgetLimit| {
                let secs = limit.anchored_secs().filter(|_| !limit.is_over(now));
                secs.filter(|secs| until <= now.plus(Duration::from_secs((*secs).into())))
            };
            if let Some(shortest) = budget.limits.iter_mut().filter_map(|limit| can_be(&limit)).min() {
                for limit in budget.limits.iter_mut().filter(|limit| can_be(limit) == Some(shortest)) {
                    if limit.end().is_some_and(|end| until < end) {
                        limit.ends = Some(until);
                    }
                }
            }
            Ok(Some(Budget { hold: Some(hold.clone()), ..budget }))
        })
        .await
        .map(drop)
    }

    async fn find(&self, scope: &Scope) -> Result<Option<Budget>> {
        let budgets = self.fleet.ports().allowances.budgets().await?;
        Ok(budgets.into_iter().find(|budget| budget.scope == *scope))
    }

    /// Changes the budget as it stands, with how its limits stand; one that is not there is an empty one, and `None` is no
    /// change.
    async fn change(
        &self,
        scope: &Scope,
        change: impl Fn(Budget) -> Result<Option<Budget>>,
    ) -> Result<Budget> {
        for last in (0..TRIES).rev() {
            let stands = self.find(scope).await?.unwrap_or_else(|| Budget::new(scope.clone()));
            let stands = self.standing(vec![stands]).await?.remove(0);
            let seen = Some(stands.version);
            let Some(mut budget) = change(stands.clone())? else { return Ok(stands) };
            for limit in &mut budget.limits {
                limit.standing = None;
            }
            let set = SetBudget { budget, seen, now: self.fleet.now() };
            match self.fleet.ports().allowances.set_budget(set).await {
                Err(Error::Conflict { code: ConflictCode::StaleVersion, .. }) if last > 0 => {}
                answer => return answer,
            }
        }
        Err(Error::unavailable(format!("the budget of {scope}, which keeps changing,")))
    }

    /// Reads how the limits of budgets stand.
    async fn standing(&self, mut budgets: Vec<Budget>) -> Result<Vec<Budget>> {
        let now = self.fleet.now();
        let keys: Vec<_> = budgets
            .iter()
            .flat_map(|budget| {
                budget.limits.iter().map(|limit| limit.limit_at(budget.scope.clone(), now).key)
            })
            .collect();
        let readings = self.fleet.ports().allowances.readings(&keys, now).await?;
        for budget in &mut budgets {
            budget.hold = budget.hold.take().filter(|hold| hold.until > now);
        }
        let limits = budgets.iter_mut().flat_map(|budget| &mut budget.limits);
        for ((limit, key), reading) in limits.zip(&keys).zip(readings) {
            let newest = reading.buckets.last().map_or_else(|| key.window.bucket(now), |(bucket, _)| *bucket);
            let unbegun = matches!(key.window, Window::Anchored { .. }) && limit.anchor.is_none();
            let cut = limit.is_cut(now);
            let end = limit.end().filter(|end| *end > now);
            limit.standing = Some(Standing {
                used: reading.used,
                reserved: reading.reserved,
                resets_at: end.or_else(|| key.window.frees_at(newest).filter(|_| !unbegun && !cut)),
                would_refuse: limit.shadow.then(|| self.fleet.shadows().would_refuse(key)),
            });
        }
        Ok(budgets)
    }
}
