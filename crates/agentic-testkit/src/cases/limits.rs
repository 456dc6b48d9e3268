//! Allowances and quotas as data.

use agentic_core::{
    allowance::{AgentAllowance, CostBasis, ModelQuota, Price},
    amount::Amount,
    error::Kind,
    event::EventType,
};

use crate::{
    Fixture,
    expect::{invalid, not_found},
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
        price: Some(Price { input: n(3_000_000), output: n(15_000_000) }),
        cost: CostBasis::Reported,
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

/// Every change of a limit moves the revision on and is told; a refused one does neither.
pub async fn a_changed_limit_is_noticed(fx: &Fixture) {
    let mut revision = fx.allowances.limits_revision().await.unwrap();
    for step in 0..4 {
        match step {
            0 => fx.allowances.set_allowance(allowance("w"), t(0)).await.unwrap(),
            1 => fx.allowances.set_model_quota(quota("m"), t(0)).await.unwrap(),
            2 => fx.allowances.delete_allowance(&id("w"), t(0)).await.unwrap(),
            _ => fx.allowances.delete_model_quota(&id("m"), t(0)).await.unwrap(),
        }
        let next = fx.allowances.limits_revision().await.unwrap();
        assert!(next > revision, "{next} after {revision}");
        revision = next;
    }
    not_found(fx.allowances.delete_model_quota(&id("m"), t(0)).await, Kind::Model, "m");
    assert_eq!(fx.allowances.limits_revision().await.unwrap(), revision);
    assert_eq!(fx.count(EventType::LimitsChanged).await, 4);
}

/// An allowlist over its bound is refused.
pub async fn an_allowlist_is_bounded(fx: &Fixture) {
    let models = |count: usize| (0..count).map(|i| id(&format!("m{i}"))).collect();
    let list = |count: usize| AgentAllowance { model_allowlist: models(count), ..allowance("w") };
    invalid(fx.allowances.set_allowance(list(257), t(0)).await, "model_allowlist");
    fx.allowances.set_allowance(list(256), t(0)).await.unwrap();
}
