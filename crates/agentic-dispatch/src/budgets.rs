//! The service of budgets: further limits of any scope.

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

impl AllowanceService {
    /// A budget, and how it stands.
    ///
    /// # Errors
    /// `NotFound` when the scope has none.
    pub async fn budget(&self, scope: &Scope) -> Result<Budget> {
        let budget = self.find(scope).await?.ok_or_else(|| Error::not_found(Kind::Budget, scope))?;
        Ok(self.standing(vec![budget]).await?.remove(0))
    }

    /// All budgets, ascending by scope, and how they stand.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn budgets(&self) -> Result<Vec<Budget>> {
        let budgets = self.fleet.ports().allowances.budgets().await?;
        self.standing(budgets).await
    }

    /// Sets a budget, and wakes what waits for its scope. A version that is not 0 is the one that it must have until now;
    /// a window that goes on keeps its anchor, unless another is named.
    ///
    /// # Errors
    /// `Invalid`; `Conflict` `stale_version`.
    pub async fn set_budget(&self, wanted: Budget) -> Result<Budget> {
        wanted.validate()?;
        let scope = wanted.scope.clone();
        let set = self
            .change(&scope, |stands| {
                if wanted.version != 0 && wanted.version != stands.version {
                    return Err(agentic_core::engine::agents::stale_version(&scope));
                }
                let mut next = wanted.clone();
                for limit in &mut next.limits {
                    let same =
                        |other: &&BudgetLimit| (other.meter, other.window) == (limit.meter, limit.window);
                    let known = stands.limits.iter().find(same).and_then(|same| same.anchor);
                    limit.anchor = limit.anchor.or(known);
                    limit.standing = None;
                }
                Ok(next)
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
    /// used up. The present windows of anchored limits of the scope then end at that reset.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn hold(&self, scope: &Scope, until: Timestamp, reason: &str) -> Result<()> {
        let now = self.fleet.now();
        let until = until.min(now.plus(LONGEST_HOLD));
        if until <= now {
            return Ok(());
        }
        let hold = Hold { until, reason: reason.to_owned() };
        self.change(scope, |mut budget| {
            for limit in &mut budget.limits {
                if let Window::Anchored { secs, .. } = limit.window {
                    let began = until.minus(std::time::Duration::from_secs(secs.into()));
                    limit.anchor = Some(began);
                }
            }
            Ok(Budget { hold: Some(hold.clone()), ..budget })
        })
        .await
        .map(drop)
    }

    async fn find(&self, scope: &Scope) -> Result<Option<Budget>> {
        let budgets = self.fleet.ports().allowances.budgets().await?;
        Ok(budgets.into_iter().find(|budget| budget.scope == *scope))
    }

    /// Changes the budget as it stands; one that is not there is an empty one.
    async fn change(&self, scope: &Scope, change: impl Fn(Budget) -> Result<Budget>) -> Result<Budget> {
        for last in (0..TRIES).rev() {
            let stands = self.find(scope).await?.unwrap_or_else(|| Budget::new(scope.clone()));
            let seen = Some(stands.version);
            let set = SetBudget { budget: change(stands)?, seen, now: self.fleet.now() };
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
            .flat_map(|budget| budget.limits.iter().map(|limit| limit.limit(budget.scope.clone()).key))
            .collect();
        let readings = self.fleet.ports().allowances.readings(&keys, now).await?;
        for budget in &mut budgets {
            budget.hold = budget.hold.take().filter(|hold| hold.until > now);
        }
        let limits = budgets.iter_mut().flat_map(|budget| &mut budget.limits);
        for ((limit, key), reading) in limits.zip(&keys).zip(readings) {
            let newest = reading.buckets.last().map_or_else(|| key.window.bucket(now), |(bucket, _)| *bucket);
            let unbegun = matches!(key.window, Window::Anchored { .. }) && limit.anchor.is_none();
            limit.standing = Some(Standing {
                used: reading.used,
                reserved: reading.reserved,
                resets_at: key.window.frees_at(newest).filter(|_| !unbegun),
                would_refuse: limit.shadow.then(|| self.fleet.shadows().would_refuse(key)),
            });
        }
        Ok(budgets)
    }
}
