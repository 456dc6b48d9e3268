//! `docs/reference/limits.md`: every limit, in the order in which a job is held against them, as a task is told that meets
//! them all. `cargo xtask docs` writes it.

use std::fmt::Write as _;

use agentic_core::{
    allowance::{AgentAllowance, ModelQuota, Price},
    api::CreateTask,
    budget::{Budget, BudgetLimit},
    explain::{LimitState, Standing},
    limit::{Held, Limit, Meter, Scope, Window},
    usage::Directive,
};
use agentic_dispatch::LeastLoaded;

use crate::world::{World, titled};

const HEAD: &str = "\
# Limits

Generated from the code by `cargo xtask docs` and held to it by a test; do not edit. A job is admitted when there is room under every limit: `used + reserved +
max(1, asked) <= cap`. Refusals are told in this order; the first one is the answer. What each means, with figures, is in the [guide](../guide/budgets.md).

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
    let world = World::new();
    let service = world.fleet.allowances();
    let (agent, model) = (world.agent("ID", &[], 1).await.id, "NAME".parse().unwrap());
    let allowance = AgentAllowance {
        daily_token_limit: 1u32.into(),
        daily_job_limit: 1u32.into(),
        concurrent_jobs: 1u32.into(),
        ..AgentAllowance::unlimited(agent.clone())
    };
    service.set(allowance).await.unwrap();
    let quota = ModelQuota {
        daily_token_budget: 1u32.into(),
        hourly_rate_limit: 1u32.into(),
        cost_ceiling: 1u32.into(),
        price: Some(Price::flat(1u32.into(), 1u32.into())),
        ..ModelQuota::unlimited(model)
    };
    service.set_model(quota.clone()).await.unwrap();
    let model = quota.model;
    for scope in [
        Scope::Agent(agent.clone()),
        Scope::AgentModel(agent, model.clone()),
        Scope::Model(model.clone()),
        Scope::Project("NAME".parse().unwrap()),
        Scope::Fleet,
    ] {
        let limits = [(Meter::Tokens, "anchored:18000"), (Meter::Cost, "day")];
        let limits =
            limits.map(|(meter, window)| BudgetLimit::new(meter, window.parse().unwrap(), 1u32.into()));
        service.set_budget(Budget { limits: limits.into(), ..Budget::new(scope) }).await.unwrap();
    }
    let task = CreateTask { model: Some(model), project: Some("NAME".parse().unwrap()), ..titled("x") };
    let told = world.fleet.tasks().dry_run(vec![task], None, &LeastLoaded, 1).await.unwrap().remove(0);
    let verdict = told.prospects.unwrap().agents.remove(0);
    assert_eq!(verdict.standing, Standing::Fits, "{verdict:?}");
    let limit = |state: LimitState| Limit { key: state.key, cap: Some(state.cap) };
    verdict.limits.into_iter().map(limit).collect()
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
    if std::env::var_os("AGENTIC_WRITE_DOCS").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let stands = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        stands == text,
        "docs/reference/limits.md is not this (cargo xtask docs writes it):\n<<<\n{text}>>>"
    );
}
