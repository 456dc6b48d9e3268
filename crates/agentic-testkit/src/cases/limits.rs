//! Allowances, quotas and budgets as data.

use agentic_core::{
    allowance::{AgentAllowance, CostBasis, ModelQuota, Price},
    amount::Amount,
    budget::{Budget, BudgetLimit, Hold},
    error::{ConflictCode, Kind},
    event::EventType,
    limit::Meter,
    port::SetBudget,
    price::{PriceSource, PriceTier},
};

use crate::{
    Fixture,
    expect::{conflict, invalid, not_found},
    given::{id, n, t},
};

fn allowance(agent: &str) -> AgentAllowance {
    AgentAllowance {
        agent_id: id(agent),
        daily_token_limit: Amount::MAX,
        daily_job_limit: n(20),
        concurrent_jobs: n(3),
        max_job_duration_secs: 3_600,
        model_allowlist: [id("z"), id("vendor/m")].into(),
    }
}

fn quota(model: &str) -> ModelQuota {
    ModelQuota {
        model: id(model),
        daily_token_budget: Amount::MAX,
        hourly_rate_limit: n(60),
        cost_ceiling: n(500),
        price: Some(Price { cache_read: Some(n(300_000)), ..Price::flat(n(3_000_000), n(15_000_000)) }),
        price_source: Some(PriceSource {
            sha256: "0123456789abcdef".repeat(4),
            key: "vendor/\"m\"".to_owned(),
            tier: PriceTier::Highest,
            imported_at: t(-3),
        }),
        cost: CostBasis::Reported,
        usage: None,
    }
}

/// An allowance is read as it was set, replaced by the next, and gone when it is removed.
pub async fn an_allowance_is_set_and_removed(fx: &Fixture) {
    assert_eq!(fx.allowances.allowance(&id("w")).await.unwrap(), None);
    fx.allowances.set_allowance(allowance("w"), t(0)).await.unwrap();
    assert_eq!(fx.allowances.allowance(&id("w")).await.unwrap(), Some(allowance("w")));
    let other = AgentAllowance::unlimited(id("w"));
    fx.allowances.set_allowance(other.clone(), t(1)).await.unwrap();
    fx.allowances.set_allowance(allowance("a"), t(1)).await.unwrap();
    assert_eq!(fx.allowances.allowances().await.unwrap(), [allowance("a"), other], "ascending by agent");
    fx.allowances.delete_allowance(&id("w"), t(2)).await.unwrap();
    assert_eq!(fx.allowances.allowance(&id("w")).await.unwrap(), None);
    not_found(fx.allowances.delete_allowance(&id("w"), t(2)).await, Kind::Allowance, "w");
    assert_eq!(fx.allowances.allowances().await.unwrap(), [allowance("a")]);
}

/// A quota likewise.
pub async fn a_quota_is_set_and_removed(fx: &Fixture) {
    assert_eq!(fx.allowances.model_quota(&id("m")).await.unwrap(), None);
    fx.allowances.set_model_quota(quota("vendor/m"), t(0)).await.unwrap();
    assert_eq!(fx.allowances.model_quota(&id("vendor/m")).await.unwrap(), Some(quota("vendor/m")));
    let other = ModelQuota::unlimited(id("vendor/m"));
    fx.allowances.set_model_quota(other.clone(), t(1)).await.unwrap();
    fx.allowances.set_model_quota(quota("a"), t(1)).await.unwrap();
    assert_eq!(fx.allowances.model_quotas().await.unwrap(), [quota("a"), other], "ascending by model");
    fx.allowances.delete_model_quota(&id("vendor/m"), t(2)).await.unwrap();
    not_found(fx.allowances.delete_model_quota(&id("vendor/m"), t(2)).await, Kind::Model, "vendor/m");
    assert_eq!(fx.allowances.model_quotas().await.unwrap(), [quota("a")]);
}

fn budget(scope: &str) -> Budget {
    let capped = |meter, window: &str, cap| BudgetLimit::new(meter, id(window), cap);
    let anchored = capped(Meter::Requests, "anchored:18000", n(5));
    Budget {
        limits: vec![
            capped(Meter::Tokens, "day", Amount::MAX),
            BudgetLimit { shadow: true, ..capped(Meter::Cost, "sliding:600", n(7)) },
            BudgetLimit { anchor: Some(t(-3)), ..anchored },
            capped(Meter::ActiveJobs, "live", n(2)),
        ],
        hold: Some(Hold { until: t(9), named: Some(t(99)), reason: "\"weekly\" limit".to_owned() }),
        ..Budget::new(id(scope))
    }
}

fn set(budget: Budget, seen: Option<u64>) -> SetBudget {
    SetBudget { budget, seen, now: t(0) }
}

/// A budget of any scope is read as it was set, replaced by the next, and gone when it is removed.
pub async fn a_budget_is_set_and_removed(fx: &Fixture) {
    assert_eq!(fx.allowances.budgets().await.unwrap(), []);
    let mut all = Vec::new();
    for scope in ["agent:w", "agent:w model:v/m", "fleet", "model:v/m", "project:p/q"] {
        let stands = fx.allowances.set_budget(set(budget(scope), None)).await.unwrap();
        assert_eq!(stands, Budget { version: stands.version, ..budget(scope) });
        all.push(stands);
    }
    assert_eq!(fx.allowances.budgets().await.unwrap(), all, "ascending by scope");
    let other = fx.allowances.set_budget(set(Budget::new(id("fleet")), None)).await.unwrap();
    assert!(other.version > all[4].version && other.limits.is_empty() && other.hold.is_none());
    fx.allowances.delete_budget(&id("agent:w"), t(1)).await.unwrap();
    not_found(fx.allowances.delete_budget(&id("agent:w"), t(1)).await, Kind::Budget, "agent:w");
    all[2] = other;
    assert_eq!(fx.allowances.budgets().await.unwrap(), all[1..]);
    let twice =
        Budget { limits: [budget("fleet").limits, budget("fleet").limits].concat(), ..budget("fleet") };
    invalid(fx.allowances.set_budget(set(twice, None)).await, "limits[4].window");
}

/// Who names the version that it has seen changes that one and no other, and of many who have seen the same one does.
pub async fn a_budget_is_changed_by_who_has_seen_it(fx: &Fixture) {
    let stale = ConflictCode::StaleVersion;
    conflict(fx.allowances.set_budget(set(budget("fleet"), Some(7))).await, stale);
    let first = fx.allowances.set_budget(set(budget("fleet"), Some(0))).await.unwrap();
    conflict(fx.allowances.set_budget(set(budget("fleet"), Some(0))).await, stale);
    let revision = fx.allowances.limits_revision().await.unwrap();
    let answers = crate::fixture::at_once(64, |_| {
        let allowances = fx.allowances.clone();
        let mine = set(budget("fleet"), Some(first.version));
        async move { allowances.set_budget(mine).await }
    })
    .await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    for answer in answers.into_iter().filter(Result::is_err) {
        conflict(answer, stale);
    }
    assert_eq!(fx.allowances.limits_revision().await.unwrap(), revision + 1);
    fx.allowances.delete_budget(&id("fleet"), t(0)).await.unwrap();
    let again = fx.allowances.set_budget(set(budget("fleet"), Some(0))).await.unwrap();
    assert!(again.version > first.version + 1, "a version does not come back");
}

/// Every change of a limit moves the revision on and is told; a refused one does neither.
pub async fn a_changed_limit_is_noticed(fx: &Fixture) {
    let mut revision = fx.allowances.limits_revision().await.unwrap();
    for step in 0..6 {
        match step {
            0 => fx.allowances.set_allowance(allowance("w"), t(0)).await.unwrap(),
            1 => fx.allowances.set_model_quota(quota("m"), t(0)).await.unwrap(),
            2 => fx.allowances.set_budget(set(budget("fleet"), None)).await.map(drop).unwrap(),
            3 => fx.allowances.delete_budget(&id("fleet"), t(0)).await.unwrap(),
            4 => fx.allowances.delete_allowance(&id("w"), t(0)).await.unwrap(),
            _ => fx.allowances.delete_model_quota(&id("m"), t(0)).await.unwrap(),
        }
        let next = fx.allowances.limits_revision().await.unwrap();
        assert!(next > revision, "{next} after {revision}");
        revision = next;
    }
    not_found(fx.allowances.delete_model_quota(&id("m"), t(0)).await, Kind::Model, "m");
    assert_eq!(fx.allowances.limits_revision().await.unwrap(), revision);
    conflict(fx.allowances.set_budget(set(budget("model:m"), Some(1))).await, ConflictCode::StaleVersion);
    assert_eq!(fx.allowances.limits_revision().await.unwrap(), revision);
    assert_eq!(fx.count(EventType::LimitsChanged).await, 6);
}

/// An allowlist over its bound is refused.
pub async fn an_allowlist_is_bounded(fx: &Fixture) {
    let models = |count: usize| (0..count).map(|i| id(&format!("m{i}"))).collect();
    let list = |count: usize| AgentAllowance { model_allowlist: models(count), ..allowance("w") };
    invalid(fx.allowances.set_allowance(list(257), t(0)).await, "model_allowlist");
    fx.allowances.set_allowance(list(256), t(0)).await.unwrap();
}
