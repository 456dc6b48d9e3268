//! From allowances, quotas and budgets to the list of limits that a job is held against.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use agentic_core::{
    agent::AgentInfo,
    allowance::{AgentAllowance, CostBasis, ModelQuota, Price},
    amount::Amount,
    budget::Budget,
    clock::Timestamp,
    error::Result,
    id::{AgentId, ModelName, ProjectName},
    lane::Lane,
    limit::{Limit, Meter, MeterKey, Refusal, Scope, Window},
    port::AllowanceStore,
};

use crate::policy::Policy;

/// Whose job it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) agent: &'a AgentId,
    /// 0 = unlimited.
    pub(crate) max_load: u32,
    pub(crate) model: Option<&'a ModelName>,
    pub(crate) project: Option<&'a ProjectName>,
}

impl<'a> Subject<'a> {
    /// A task of `lane` with this agent.
    pub(crate) fn of(agent: &'a AgentInfo, lane: &'a Lane) -> Self {
        let model = lane.model.as_ref().or(agent.default_model());
        Self { agent: &agent.id, max_load: agent.max_load, model, project: lane.project.as_ref() }
    }

    /// The scopes whose budgets it counts under, in the order in which their refusals are told: from its own to
    /// everybody's.
    fn scopes(&self) -> Vec<Scope> {
        let agent = || self.agent.clone();
        let mut scopes = vec![Scope::Agent(agent())];
        if let Some(model) = self.model {
            scopes.push(Scope::AgentModel(agent(), model.clone()));
            scopes.push(Scope::Model(model.clone()));
        }
        scopes.extend(self.project.cloned().map(Scope::Project));
        scopes.push(Scope::Fleet);
        scopes
    }
}

/// What one job is held against.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// What is counted, and how far it may go, in the order in which refusals are told (design §7).
    pub(crate) limits: Vec<Limit>,
    /// What is evaluated and refuses nothing; `limits` counts it.
    pub(crate) shadows: Vec<Limit>,
    /// The budgets that have an anchored window to begin.
    pub(crate) over: Vec<Budget>,
    /// The model's price.
    pub(crate) price: Option<Price>,
    /// How long the attempt may take.
    pub(crate) max_duration: Option<Duration>,
    /// Agents report what the model costs.
    reported: bool,
    /// A rule that counts nothing refuses it: usage is charged all the same, admission is not given.
    pub(crate) rule: Option<Refusal>,
}

impl Plan {
    /// Takes in the limits of a budget. A meter that is there already is not counted twice: the lower cap holds.
    fn add(&mut self, budget: &Budget, now: Timestamp) {
        for wanted in &budget.limits {
            let limit = wanted.limit_at(budget.scope.clone(), now);
            let cap = limit.cap.filter(|_| !wanted.shadow);
            match self.limits.iter_mut().find(|there| there.key == limit.key) {
                Some(there) => there.cap = [there.cap, cap].into_iter().flatten().min(),
                None => self.limits.push(Limit { cap, ..limit.clone() }),
            }
            if wanted.shadow {
                self.shadows.push(limit);
            }
        }
        if budget.limits.iter().any(|limit| limit.is_over(now)) {
            self.over.push(budget.clone());
        }
    }

    /// Refuses a job that is charged at `price` where nobody could know its spend, under a limit on spend.
    pub(crate) fn unpriced(&self, price: Option<Price>, model: Option<&ModelName>) -> Option<Refusal> {
        if price.is_some() || self.reported {
            return None;
        }
        let on_spend = |limit: &&Limit| limit.key.meter == Meter::Cost && limit.cap.is_some();
        let scope = &self.limits.iter().find(on_spend)?.key.scope;
        Some(Refusal::rule(match (model, scope) {
            (Some(model), Scope::Model(_)) => {
                format!(
                    "model {model} has a cost ceiling and no price; give it one, or set its cost to reported"
                )
            }
            (Some(model), _) => format!(
                "model {model} has no price, and the spend of {scope} is limited; give it one, or set its cost to \
                 reported"
            ),
            (None, _) => format!(
                "neither the task nor the agent names a model, and the spend of {scope} is limited; name one that is \
                 priced"
            ),
        }))
    }
}

/// The allowances, quotas and budgets of a fleet at one revision.
#[derive(Debug, Default)]
pub(crate) struct LimitBook {
    allowances: HashMap<AgentId, AgentAllowance>,
    quotas: HashMap<ModelName, ModelQuota>,
    budgets: HashMap<Scope, Budget>,
}

impl LimitBook {
    /// The budgets with a window that was cut short and is over.
    pub(crate) fn cut(&self, now: Timestamp) -> impl Iterator<Item = &Budget> {
        self.budgets.values().filter(move |budget| budget.limits.iter().any(|limit| limit.is_cut(now)))
    }

    /// Turns what is allowed to an agent, of a model and under every budget into limits.
    pub(crate) fn plan(&self, policy: &Policy, subject: &Subject<'_>, now: Timestamp) -> Plan {
        let Subject { agent, max_load, model, .. } = *subject;
        let own = self.allowances.get(agent).cloned();
        let allowance =
            own.or_else(|| policy.default_allowance.as_ref().map(|default| default.for_agent(agent)));
        let quota = model.and_then(|model| self.quotas.get(model));
        let rule = disallowed(allowance.as_ref(), agent, model);
        let allowance = allowance.unwrap_or_else(|| AgentAllowance::unlimited(agent.clone()));
        let cap = |amount: Amount| (!amount.is_zero()).then_some(amount);
        let quota_cap = |of: fn(&ModelQuota) -> Amount| quota.and_then(|quota| cap(of(quota)));
        let mut limits = Vec::with_capacity(8);
        let mut push = |scope, meter, window, cap| limits.push(Limit::new(scope, meter, window, cap));
        let by_agent = || Scope::Agent(agent.clone());
        if let Some(model) = model {
            let by_model = Scope::Model(model.clone());
            push(by_model, Meter::Requests, Window::HOUR, quota_cap(|quota| quota.hourly_rate_limit));
            push(Scope::AgentModel(agent.clone(), model.clone()), Meter::Requests, Window::HOUR, None);
        }
        push(by_agent(), Meter::Tokens, Window::Day, cap(allowance.daily_token_limit));
        push(by_agent(), Meter::Jobs, Window::Day, cap(allowance.daily_job_limit));
        for places in [allowance.concurrent_jobs, max_load.into()].into_iter().filter_map(cap) {
            push(by_agent(), Meter::ActiveJobs, Window::Live, Some(places));
        }
        if let Some(model) = model {
            let by_model = || Scope::Model(model.clone());
            push(by_model(), Meter::Tokens, Window::Day, quota_cap(|quota| quota.daily_token_budget));
            push(by_model(), Meter::Cost, Window::Lifetime, quota.and_then(ModelQuota::ceiling_micros));
        }
        let secs = allowance.max_job_duration_secs;
        let mut plan = Plan {
            limits,
            shadows: Vec::new(),
            over: Vec::new(),
            price: quota.and_then(|quota| quota.price),
            max_duration: (secs > 0).then(|| Duration::from_secs(secs)),
            reported: quota.is_some_and(|quota| quota.cost == CostBasis::Reported),
            rule: None,
        };
        let scopes = subject.scopes();
        let budgets: Vec<&Budget> = scopes.iter().filter_map(|scope| self.budgets.get(scope)).collect();
        for budget in &budgets {
            plan.add(budget, now);
        }
        let on_hold = || budgets.iter().find_map(|budget| on_hold(budget, now));
        plan.rule = rule.or_else(|| plan.unpriced(plan.price, model)).or_else(on_hold);
        plan
    }
}

/// Refuses an agent without an allowance, and a model that is not on its list.
fn disallowed(
    allowance: Option<&AgentAllowance>,
    agent: &AgentId,
    model: Option<&ModelName>,
) -> Option<Refusal> {
    let Some(allowance) = allowance else {
        let why =
            format!("agent {agent} has no allowance, and there is no default_allowance; set one of them");
        return Some(Refusal::rule(why));
    };
    let list = &allowance.model_allowlist;
    match model {
        None if !list.is_empty() => {
            Some(Refusal::rule(format!("agent {agent} may use only certain models, and the task names none")))
        }
        Some(model) if !list.is_empty() && !list.contains(model) => {
            Some(Refusal::rule(format!("model {model} is not on the allowlist of agent {agent}")))
        }
        _ => None,
    }
}

/// What a budget on hold says: no place for anybody until then.
fn on_hold(budget: &Budget, now: Timestamp) -> Option<Refusal> {
    let hold = budget.held_at(now)?;
    let key = MeterKey { scope: budget.scope.clone(), meter: Meter::ActiveJobs, window: Window::Live };
    Some(Refusal {
        key: Some(key),
        reason: format!("{}, which is on hold ({})", budget.scope, hold.reason),
        need: Amount::ONE,
        cap: Some(Amount::ZERO),
        retry_at: Some(hold.until),
        ..Refusal::rule("")
    })
}

/// The last book that was read, kept until the store says that its limits changed.
#[derive(Debug, Default)]
pub(crate) struct LimitCache(Mutex<Option<(u64, Arc<LimitBook>)>>);

impl LimitCache {
    /// The book of the store's current revision.
    pub(crate) async fn read(&self, store: &dyn AllowanceStore) -> Result<Arc<LimitBook>> {
        // The revision is read before the rows: a change in between makes the next reader read again.
        let revision = store.limits_revision().await?;
        if let Some((known, book)) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner)
            && *known == revision
        {
            return Ok(Arc::clone(book));
        }
        let allowances = store.allowances().await?;
        let quotas = store.model_quotas().await?;
        let budgets = store.budgets().await?;
        let book = Arc::new(LimitBook {
            allowances: allowances.into_iter().map(|a| (a.agent_id.clone(), a)).collect(),
            quotas: quotas.into_iter().map(|q| (q.model.clone(), q)).collect(),
            budgets: budgets.into_iter().map(|b| (b.scope.clone(), b)).collect(),
        });
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((revision, Arc::clone(&book)));
        Ok(book)
    }
}
