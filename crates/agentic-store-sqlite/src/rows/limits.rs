//! Allowances and quotas as they are stored.

use agentic_core::{
    allowance::{AgentAllowance, ModelQuota, Price},
    amount::Amount,
    budget::Budget,
    error::Result,
    id::{AgentId, ModelName},
    limit::Scope,
};

use crate::sql::{Cells, Columns, Sql};

/// Reads allowances; the rest of the statement says which.
macro_rules! select_allowance {
    ($rest:literal) => {
        concat!(
            "SELECT agent_id, daily_token_limit, daily_job_limit, concurrent_jobs, max_job_duration_secs,
                model_allowlist FROM allowances ",
            $rest
        )
    };
}

/// Reads quotas; the rest of the statement says which.
macro_rules! select_quota {
    ($rest:literal) => {
        concat!(
            "SELECT model, daily_token_budget, hourly_rate_limit, cost_ceiling, price_input, price_output,
                price_cache_read, price_cache_write, price_reasoning, cost, price_source FROM quotas ",
            $rest
        )
    };
}

pub(crate) const ALLOWANCE: &str = select_allowance!("WHERE agent_id = ?1");
pub(crate) const ALLOWANCES: &str = select_allowance!("ORDER BY agent_id");
pub(crate) const QUOTA: &str = select_quota!("WHERE model = ?1");
pub(crate) const QUOTAS: &str = select_quota!("ORDER BY model");

const PUT_ALLOWANCE: &str = "INSERT OR REPLACE INTO allowances (agent_id, daily_token_limit, daily_job_limit,
    concurrent_jobs, max_job_duration_secs, model_allowlist) VALUES (?, ?, ?, ?, ?, ?)";
const DELETE_ALLOWANCE: &str = "DELETE FROM allowances WHERE agent_id = ?1";
const PUT_QUOTA: &str =
    "INSERT OR REPLACE INTO quotas (model, daily_token_budget, hourly_rate_limit, cost_ceiling,
    price_input, price_output, price_cache_read, price_cache_write, price_reasoning, cost, price_source)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
const DELETE_QUOTA: &str = "DELETE FROM quotas WHERE model = ?1";

pub(crate) const BUDGET: &str = "SELECT scope, version, limits, hold FROM budgets WHERE scope = ?1";
pub(crate) const BUDGETS: &str = "SELECT scope, version, limits, hold FROM budgets ORDER BY scope";
const PUT_BUDGET: &str = "INSERT OR REPLACE INTO budgets (scope, version, limits, hold) VALUES (?, ?, ?, ?)";
const DELETE_BUDGET: &str = "DELETE FROM budgets WHERE scope = ?1";

/// Reads the columns of `select_allowance`.
pub(crate) fn read_allowance(columns: &mut Columns<'_>) -> Result<AgentAllowance> {
    Ok(AgentAllowance {
        agent_id: columns.parse()?,
        daily_token_limit: columns.amount()?,
        daily_job_limit: columns.amount()?,
        concurrent_jobs: columns.amount()?,
        max_job_duration_secs: columns.unsigned()?,
        model_allowlist: columns.json()?,
    })
}

/// Writes or, with `None`, removes an allowance.
pub(crate) fn put_allowance(sql: Sql<'_>, agent: &AgentId, allowance: Option<&AgentAllowance>) -> Result<()> {
    let Some(allowance) = allowance else {
        return sql.execute(DELETE_ALLOWANCE, [agent.as_str()]).map(drop);
    };
    let mut cells = Cells::default();
    cells
        .text(agent.as_str())
        .amount(allowance.daily_token_limit)
        .amount(allowance.daily_job_limit)
        .amount(allowance.concurrent_jobs)
        .int_cut(allowance.max_job_duration_secs)
        .json(&allowance.model_allowlist)?;
    sql.execute(PUT_ALLOWANCE, cells.params()).map(drop)
}

/// Reads the columns of `select_quota`.
pub(crate) fn read_quota(columns: &mut Columns<'_>) -> Result<ModelQuota> {
    let (model, daily_token_budget) = (columns.parse()?, columns.amount()?);
    let (hourly_rate_limit, cost_ceiling) = (columns.amount()?, columns.amount()?);
    let mut prices = [None; 5];
    for price in &mut prices {
        *price = columns.get::<Option<i64>>()?.map(Amount::from_signed);
    }
    let [input, output, cache_read, cache_write, reasoning] = prices;
    let price = input.zip(output);
    let price = price.map(|(input, output)| Price { input, output, cache_read, cache_write, reasoning });
    Ok(ModelQuota {
        model,
        daily_token_budget,
        hourly_rate_limit,
        cost_ceiling,
        price,
        cost: columns.named()?,
        price_source: columns.json_opt()?,
        usage: None,
    })
}

/// Writes or, with `None`, removes a quota.
pub(crate) fn put_quota(sql: Sql<'_>, model: &ModelName, quota: Option<&ModelQuota>) -> Result<()> {
    let Some(quota) = quota else {
        return sql.execute(DELETE_QUOTA, [model.as_str()]).map(drop);
    };
    let mut cells = Cells::default();
    cells
        .text(model.as_str())
        .amount(quota.daily_token_budget)
        .amount(quota.hourly_rate_limit)
        .amount(quota.cost_ceiling);
    let price = quota.price;
    let parts = price.map(|price| {
        [Some(price.input), Some(price.output), price.cache_read, price.cache_write, price.reasoning]
    });
    for part in parts.unwrap_or_default() {
        match part {
            Some(part) => cells.amount(part),
            None => cells.null(),
        };
    }
    cells.text(quota.cost.as_str()).json_opt(quota.price_source.as_ref())?;
    sql.execute(PUT_QUOTA, cells.params()).map(drop)
}

/// Reads a budget.
pub(crate) fn read_budget(columns: &mut Columns<'_>) -> Result<Budget> {
    let (scope, version) = (columns.parse()?, columns.unsigned()?);
    Ok(Budget { scope, version, limits: columns.json()?, hold: columns.json_opt()? })
}

/// Writes or, with `None`, removes a budget.
pub(crate) fn put_budget(sql: Sql<'_>, scope: &Scope, version: u64, budget: Option<&Budget>) -> Result<()> {
    let scope = scope.to_string();
    let Some(budget) = budget else {
        return sql.execute(DELETE_BUDGET, [&scope]).map(drop);
    };
    let mut cells = Cells::default();
    cells.text(&scope).int_cut(version).json(&budget.limits)?.json_opt(budget.hold.as_ref())?;
    sql.execute(PUT_BUDGET, cells.params()).map(drop)
}
