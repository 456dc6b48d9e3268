//! `agentic allowance`.

use std::time::Duration;

use agentic_core::{
    allowance::{AgentAllowance, UsageRecord},
    error::Error,
    id::AgentId,
    task::whole_secs,
};
use serde_json::json;

use crate::{
    args::{AllowanceCommand, AllowanceLimits},
    config::duration,
    failure::Failure,
    output::{Table, amount_or_unlimited},
    session::Session,
};

/// Shows and sets what agents may use.
pub(crate) async fn allowance(session: &Session, command: AllowanceCommand) -> Result<(), Failure> {
    let client = session.client()?;
    match command {
        AllowanceCommand::List => {
            let allowances = client.allowances().await?;
            if allowances.is_empty() {
                session.printer.note("no agent has an allowance of its own; the default one holds");
            }
            if session.printer.is_json {
                session.printer.json(&allowances)
            } else {
                print(session, &allowances)
            }
        }
        AllowanceCommand::Get { agent } => one(session, client.allowance(&agent).await?),
        AllowanceCommand::Set { agent, limits } => {
            let now = match client.allowance(&agent).await {
                Err(Error::NotFound { .. }) => AgentAllowance::unlimited(agent),
                found => found?,
            };
            let wanted = changed(now, limits);
            client.set_allowance(&wanted).await?;
            one(session, wanted)
        }
        AllowanceCommand::Delete { agent } => {
            client.delete_allowance(&agent).await?;
            told(session, &agent)
        }
        AllowanceCommand::Usage { agent } => usage(session, &client.usage(&agent).await?),
        AllowanceCommand::Reset { agent, yes } => {
            let now = client.usage(&agent).await?;
            let what = format!("{} tokens and {} jobs", now.tokens_used, now.jobs_started);
            if !yes && !session.printer.confirm(&format!("set {what} of {agent} today to zero?"))? {
                return Err(Failure::failed("nothing was reset"));
            }
            usage(session, &client.reset_usage(&agent).await?)
        }
    }
}

fn usage(session: &Session, usage: &UsageRecord) -> Result<(), Failure> {
    if session.printer.is_json {
        return session.printer.json(usage);
    }
    let mut table = Table::new(&["AGENT", "TOKENS TODAY", "JOBS TODAY", "ACTIVE JOBS", "SINCE"]);
    table.row([
        usage.agent_id.to_string(),
        usage.tokens_used.to_string(),
        usage.jobs_started.to_string(),
        usage.active_jobs.to_string(),
        usage.period_start.to_string(),
    ]);
    session.printer.table(table)
}

/// What is named changes; the rest stays.
fn changed(now: AgentAllowance, limits: AllowanceLimits) -> AgentAllowance {
    AgentAllowance {
        daily_token_limit: limits.daily_tokens.unwrap_or(now.daily_token_limit),
        daily_job_limit: limits.daily_jobs.unwrap_or(now.daily_job_limit),
        concurrent_jobs: limits.concurrent.unwrap_or(now.concurrent_jobs),
        max_job_duration_secs: limits.max_duration.map_or(now.max_job_duration_secs, whole_secs),
        model_allowlist: if limits.any_model || !limits.allow_model.is_empty() {
            limits.allow_model.into_iter().collect()
        } else {
            now.model_allowlist
        },
        agent_id: now.agent_id,
    }
}

fn told(session: &Session, agent: &AgentId) -> Result<(), Failure> {
    if session.printer.is_json {
        return session.printer.json(&json!({ "agent_id": agent, "done": "deleted" }));
    }
    session.printer.line(&format!("{agent} has no allowance of its own any more; the default one holds"))
}

fn one(session: &Session, allowance: AgentAllowance) -> Result<(), Failure> {
    if session.printer.is_json { session.printer.json(&allowance) } else { print(session, &[allowance]) }
}

fn print(session: &Session, allowances: &[AgentAllowance]) -> Result<(), Failure> {
    let mut table = Table::new(&["AGENT", "TOKENS A DAY", "JOBS A DAY", "AT ONCE", "JOB DURATION", "MODELS"]);
    for allowance in allowances {
        let models = &allowance.model_allowlist;
        table.row([
            allowance.agent_id.to_string(),
            amount_or_unlimited(allowance.daily_token_limit),
            amount_or_unlimited(allowance.daily_job_limit),
            amount_or_unlimited(allowance.concurrent_jobs),
            match allowance.max_job_duration_secs {
                0 => "unlimited".to_owned(),
                secs => duration::show(Duration::from_secs(secs)),
            },
            if models.is_empty() { "any".to_owned() } else { crate::output::list_or_dash(models) },
        ]);
    }
    if table.is_empty() { Ok(()) } else { session.printer.table(table) }
}
