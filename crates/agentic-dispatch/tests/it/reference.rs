//! `docs/reference/limits.md`: every limit, in the order in which a job is held against them, written from a plan that has
//! them all.

use std::{fmt::Write as _, sync::Arc};

use agentic_core::{
    allowance::{AgentAllowance, CostBasis, ModelQuota, Price},
    budget::{Budget, BudgetLimit},
    clock::{ManualClock, Timestamp},
    limit::{Held, Limit, Meter, Scope, Window},
    memory::Memory,
    port::SetBudget,
    usage::Directive,
};

use crate::{Fleet, Policy, limits::Subject};

const HEAD: &str = "\
# Limits

Generated from the code and held to it by a test; do not edit. A job is admitted when there is room under every limit: `used + reserved + max(1, asked) <=
cap`. Refusals are told in this order; the first one is the answer. What each means, with figures, is in the [guide](../guide/budgets.md).

Before any limit come three rules that count nothing: the agent has an allowance and the model is on its list; a model under a limit on spend has a price, or its
quota says `cost: reported`; no budget of the job is on hold.

";

const FOOT: &str = "
A budget holds a job whose scope it names, in this order: the agent, the agent and the model, the model, the project, the fleet; within one, as its limits stand in
it. Windows are `day` (UTC), `sliding:SECS` (of a minute or a multiple), `anchored:SECS` (a minute to a year, from the first use or a reported reset), `lifetime`, and
`live` for `active_jobs`. A shadow limit is evaluated at the same place, and refuses and stops nothing.

`retry_at` is told where the window's own movement makes room; where reservations hold it, they may end at any moment, and none is told. A running job is told
`wrap_up` from 90 % of a cap on, and `stop` at it. `max_job_duration_secs` of an allowance bounds an attempt, and is no limit of a meter.
";

/// A limit of every kind, each set where it is set.
async fn everything() -> Vec<Limit> {
    let now: Timestamp = "2026-03-04T12:00:00Z".parse().unwrap();
    let fleet = Fleet::new(Memory::new().ports(), Arc::new(ManualClock::at(now)), Policy::default()).unwrap();
    let (agent, model, project) = ("ID".parse().unwrap(), "NAME".parse().unwrap(), "NAME".parse().unwrap());
    let store = &fleet.ports().allowances;
    let allowance = AgentAllowance {
        daily_token_limit: 1u32.into(),
        daily_job_limit: 1u32.into(),
        concurrent_jobs: 1u32.into(),
        ..AgentAllowance::unlimited(agent)
    };
    store.set_allowance(allowance.clone(), now).await.unwrap();
    let quota = ModelQuota {
        daily_token_budget: 1u32.into(),
        hourly_rate_limit: 1u32.into(),
        cost_ceiling: 1u32.into(),
        price: Some(Price::flat(1u32.into(), 1u32.into())),
        cost: CostBasis::Priced,
        ..ModelQuota::unlimited(model)
    };
    store.set_model_quota(quota.clone(), now).await.unwrap();
    let agent = allowance.agent_id;
    let model = quota.model;
    for scope in [
        Scope::Agent(agent.clone()),
        Scope::AgentModel(agent.clone(), model.clone()),
        Scope::Model(model.clone()),
        Scope::Project(project),
        Scope::Fleet,
    ] {
        let limits = [(Meter::Tokens, "anchored:18000"), (Meter::Cost, "day")];
        let limits = limits.map(|(meter, window)| BudgetLimit {
            anchor: window.starts_with("anchored").then_some(now),
            ..BudgetLimit::new(meter, window.parse().unwrap(), 1u32.into())
        });
        let budget = Budget { limits: limits.into(), ..Budget::new(scope) };
        store.set_budget(SetBudget { budget, seen: None, now }).await.unwrap();
    }
    let project = "NAME".parse().unwrap();
    let subject = Subject { agent: &agent, max_load: 1, model: Some(&model), project: Some(&project) };
    let plan = fleet.limits().await.unwrap().plan(fleet.policy(), &subject, now);
    assert!(plan.rule.is_none() && plan.over.is_empty(), "{plan:?}");
    plan.limits.into_iter().filter(|limit| limit.cap.is_some()).collect()
}

/// Where a limit is set.
fn set_by(limit: &Limit, places: usize) -> &'static str {
    match (&limit.key.scope, limit.key.meter, limit.key.window) {
        (Scope::Model(_), Meter::Requests, Window::Sliding(_)) => "quota: `hourly_rate_limit`",
        (Scope::Agent(_), Meter::Tokens, Window::Day) => "allowance: `daily_token_limit`",
        (Scope::Agent(_), Meter::Jobs, Window::Day) => "allowance: `daily_job_limit`",
        (Scope::Agent(_), Meter::ActiveJobs, _) if places == 0 => "allowance: `concurrent_jobs`",
        (Scope::Agent(_), Meter::ActiveJobs, _) => "agent: `max_load`",
        (Scope::Model(_), Meter::Tokens, Window::Day) => "quota: `daily_token_budget`",
        (Scope::Model(_), Meter::Cost, Window::Lifetime) => "quota: `cost_ceiling`",
        _ => "budget",
    }
}

/// When a full limit of this kind has room by itself.
fn retry_at(limit: &Limit) -> &'static str {
    let used = [(0, limit.cap.unwrap().signed())];
    let refusal = limit.admit(&used, &Held::default(), 0u32.into()).unwrap_err();
    match limit.key.window {
        Window::Live => "-",
        _ if refusal.retry_at.is_none() => "never",
        Window::Day => "midnight UTC",
        Window::Sliding(_) => "the minute that frees",
        _ => "the window's end",
    }
}

#[tokio::test]
async fn the_reference_of_limits_is_as_the_code_has_it() {
    let limits = everything().await;
    let mut text = String::from(HEAD);
    text.push_str("| # | set by | scope | meter | window | `retry_at` | stops a running job |\n|---|---|---|---|---|---|---|\n");
    let mut places = 0;
    for (number, limit) in (1..).zip(&limits) {
        let key = &limit.key;
        let window = match key.window {
            Window::Anchored { secs, .. } => format!("anchored:{secs}"),
            window => window.to_string(),
        };
        let counted = matches!(key.meter, Meter::Tokens | Meter::Cost);
        let stops = counted && Directive::for_use(1u32.into(), 1u32.into()) == Directive::Stop;
        writeln!(
            text,
            "| {number} | {} | `{}` | {} | {window} | {} | {} |",
            set_by(limit, places),
            key.scope,
            key.meter,
            retry_at(limit),
            if stops { "yes" } else { "no" },
        )
        .unwrap();
        places += usize::from(key.meter == Meter::ActiveJobs);
    }
    text.push_str(FOOT);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/limits.md");
    let stands = std::fs::read_to_string(path).unwrap_or_default();
    assert!(stands == text, "docs/reference/limits.md is not this:\n<<<\n{text}>>>");
}
