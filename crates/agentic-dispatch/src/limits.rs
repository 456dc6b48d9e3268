//! From allowances and quotas to the list of limits that a job is held against.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use agentic_core::{
    allowance::{AgentAllowance, CostBasis, ModelQuota, Price},
    amount::Amount,
    error::Result,
    id::{AgentId, ModelName},
    limit::{Limit, Meter, Refusal, Scope, Window},
    port::AllowanceStore,
};

use crate::policy::Policy;

/// What one job is held against.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// What is counted, and how far it may go, in the order in which refusals are told (design §7).
    pub(crate) limits: Vec<Limit>,
    /// The model's price.
    pub(crate) price: Option<Price>,
    /// How long the attempt may take.
    pub(crate) max_duration: Option<Duration>,
    /// A rule that counts nothing refuses it: usage is charged all the same, admission is not given.
    pub(crate) rule: Option<Refusal>,
}

/// The allowances and quotas of a fleet at one revision.
#[derive(Debug, Default)]
pub(crate) struct LimitBook {
    allowances: HashMap<AgentId, AgentAllowance>,
    quotas: HashMap<ModelName, ModelQuota>,
}

impl LimitBook {
    /// Turns what is allowed to an agent, and of a model, into limits. `max_load`: 0 = unlimited.
    pub(crate) fn plan(
        &self,
        policy: &Policy,
        agent: &AgentId,
        max_load: u32,
        model: Option<&ModelName>,
    ) -> Plan {
        let own = self.allowances.get(agent).cloned();
        let allowance =
            own.or_else(|| policy.default_allowance.as_ref().map(|default| default.for_agent(agent)));
        let quota = model.and_then(|model| self.quotas.get(model));
        let rule = rule(allowance.as_ref(), quota, agent, model);
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
        Plan {
            limits,
            price: quota.and_then(|quota| quota.price),
            max_duration: (secs > 0).then(|| Duration::from_secs(secs)),
            rule,
        }
    }
}

/// The rules that count nothing.
fn rule(
    allowance: Option<&AgentAllowance>,
    quota: Option<&ModelQuota>,
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
        Some(model) => {
            let unpriced = |quota: &&ModelQuota| {
                !quota.cost_ceiling.is_zero() && quota.price.is_none() && quota.cost == CostBasis::Priced
            };
            quota.filter(unpriced).map(|_| {
                let why = "has a cost ceiling and no price; give it one, or set its cost to reported";
                Refusal::rule(format!("model {model} {why}"))
            })
        }
        None => None,
    }
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
        let book = Arc::new(LimitBook {
            allowances: allowances.into_iter().map(|a| (a.agent_id.clone(), a)).collect(),
            quotas: quotas.into_iter().map(|q| (q.model.clone(), q)).collect(),
        });
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((revision, Arc::clone(&book)));
        Ok(book)
    }
}
