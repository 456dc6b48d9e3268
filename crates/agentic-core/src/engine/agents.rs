//! The transitions of agents and of their limits.

use serde_json::json;

use super::{AgentRow, Rows};
use crate::{
    agent::{AgentInfo, AgentStatus},
    allowance::{AgentAllowance, ModelQuota},
    budget::Budget,
    clock::Timestamp,
    error::{ConflictCode, Error, Kind, Result},
    event::{EventType, NewEvent},
    id::{AgentId, ModelName},
    limit::Scope,
    port::{Heartbeat, Reap, Register, SetBudget, SetDraining},
};

/// See [`crate::port::AgentRegistry::register`].
pub fn register(rows: &mut dyn Rows, register: &Register) -> Result<AgentInfo> {
    let Register { agent, now } = register;
    agent.validate()?;
    let before = rows.agent(&agent.id)?;
    let info = AgentInfo {
        id: agent.id.clone(),
        name: if agent.name.is_empty() { agent.id.to_string() } else { agent.name.clone() },
        capabilities: agent.capabilities.clone(),
        models: agent.models.clone(),
        status: AgentStatus::Available,
        draining: false,
        last_heartbeat: *now,
        current_load: 0,
        max_load: agent.max_load,
        registered_at: before.as_ref().map_or(*now, |row| row.info.registered_at),
        incarnation: before.map_or(0, |row| row.info.incarnation) + 1,
    };
    rows.put_agent(AgentRow { info: info.clone(), deregistered: false })?;
    let payload = json!({ "incarnation": info.incarnation });
    rows.append_event(NewEvent::new(EventType::AgentRegistered, *now).agent(&info.id).payload(payload))?;
    Ok(info)
}

/// See [`crate::port::AgentRegistry::deregister`].
pub fn deregister(rows: &mut dyn Rows, id: &AgentId, now: Timestamp) -> Result<()> {
    let mut row = existing(rows, id)?;
    row.deregistered = true;
    row.info.status = AgentStatus::Offline;
    rows.put_agent(row)?;
    rows.append_event(NewEvent::new(EventType::AgentDeregistered, now).agent(id))
}

/// See [`crate::port::AgentRegistry::heartbeat`].
pub fn heartbeat(rows: &mut dyn Rows, heartbeat: &Heartbeat) -> Result<AgentInfo> {
    let Heartbeat { agent_id, incarnation, now } = heartbeat;
    let mut row = existing(rows, agent_id)?;
    check_incarnation(&row.info, *incarnation)?;
    let was_offline = row.info.status == AgentStatus::Offline;
    row.info.status = AgentStatus::Available;
    row.info.last_heartbeat = row.info.last_heartbeat.max(*now);
    rows.put_agent(row.clone())?;
    if was_offline {
        rows.append_event(NewEvent::new(EventType::AgentOnline, *now).agent(agent_id))?;
    }
    Ok(row.info)
}

/// See [`crate::port::AgentRegistry::set_draining`].
pub fn set_draining(rows: &mut dyn Rows, set: &SetDraining) -> Result<AgentInfo> {
    let mut row = existing(rows, &set.agent_id)?;
    row.info.draining = set.draining;
    rows.put_agent(row.clone())?;
    Ok(row.info)
}

/// See [`crate::port::AgentRegistry::reap`].
pub fn reap(rows: &mut dyn Rows, reap: &Reap) -> Result<Vec<AgentId>> {
    let silent = rows.silent(reap.now.minus(reap.ttl), reap.limit)?;
    for id in &silent {
        let mut row = existing(rows, id)?;
        row.info.status = AgentStatus::Offline;
        rows.put_agent(row)?;
        rows.append_event(NewEvent::new(EventType::AgentOffline, reap.now).agent(id))?;
    }
    Ok(silent)
}

/// See [`crate::port::AllowanceStore::set_allowance`].
pub fn set_allowance(rows: &mut dyn Rows, allowance: AgentAllowance, now: Timestamp) -> Result<()> {
    allowance.validate()?;
    let agent = allowance.agent_id.clone();
    rows.put_allowance(&agent, Some(allowance))?;
    limits_changed(rows, now, Some(&agent), None)
}

/// See [`crate::port::AllowanceStore::delete_allowance`].
pub fn delete_allowance(rows: &mut dyn Rows, agent: &AgentId, now: Timestamp) -> Result<()> {
    rows.allowance(agent)?.ok_or_else(|| Error::not_found(Kind::Allowance, agent))?;
    rows.put_allowance(agent, None)?;
    limits_changed(rows, now, Some(agent), None)
}

/// See [`crate::port::AllowanceStore::set_model_quota`].
pub fn set_model_quota(rows: &mut dyn Rows, quota: ModelQuota, now: Timestamp) -> Result<()> {
    let model = quota.model.clone();
    rows.put_quota(&model, Some(quota))?;
    limits_changed(rows, now, None, Some(&model))
}

/// See [`crate::port::AllowanceStore::delete_model_quota`].
pub fn delete_model_quota(rows: &mut dyn Rows, model: &ModelName, now: Timestamp) -> Result<()> {
    rows.quota(model)?.ok_or_else(|| Error::not_found(Kind::Model, model))?;
    rows.put_quota(model, None)?;
    limits_changed(rows, now, None, Some(model))
}

/// See [`crate::port::AllowanceStore::set_budget`].
pub fn set_budget(rows: &mut dyn Rows, set: &SetBudget) -> Result<Budget> {
    let SetBudget { budget, seen, now } = set;
    budget.validate()?;
    let stands = rows.budget(&budget.scope)?.map_or(0, |budget| budget.version);
    if seen.is_some_and(|seen| seen != stands) {
        return Err(stale_version(&budget.scope));
    }
    let version = rows.put_budget(&budget.scope, Some(budget.clone()))?;
    budget_changed(rows, *now, &budget.scope)?;
    Ok(Budget { version, ..budget.clone() })
}

/// See [`crate::port::AllowanceStore::delete_budget`].
pub fn delete_budget(rows: &mut dyn Rows, scope: &Scope, now: Timestamp) -> Result<()> {
    rows.budget(scope)?.ok_or_else(|| Error::not_found(Kind::Budget, scope))?;
    rows.put_budget(scope, None)?;
    budget_changed(rows, now, scope)
}

/// The budget is another one than the caller has seen.
pub fn stale_version(scope: &Scope) -> Error {
    let detail = format!("the budget of {scope} was changed since it was read; read it again");
    Error::conflict(ConflictCode::StaleVersion, detail)
}

/// Refuses an older, or a made-up newer, start of an agent.
///
/// # Errors
/// `Conflict` `stale_incarnation`.
pub fn check_incarnation(info: &AgentInfo, incarnation: Option<u64>) -> Result<()> {
    if incarnation.is_some_and(|incarnation| incarnation != info.incarnation) {
        let detail =
            format!("agent {} was started anew: its incarnation is {} now", info.id, info.incarnation);
        return Err(Error::conflict(ConflictCode::StaleIncarnation, detail));
    }
    Ok(())
}

fn existing(rows: &mut dyn Rows, id: &AgentId) -> Result<AgentRow> {
    rows.agent(id)?.filter(|row| !row.deregistered).ok_or_else(|| Error::not_found(Kind::Agent, id))
}

fn limits_changed(
    rows: &mut dyn Rows,
    now: Timestamp,
    agent: Option<&AgentId>,
    model: Option<&ModelName>,
) -> Result<()> {
    let event =
        NewEvent::new(EventType::LimitsChanged, now).payload(json!({ "agent": agent, "model": model }));
    rows.append_event(NewEvent { agent_id: agent.cloned(), ..event })
}

fn budget_changed(rows: &mut dyn Rows, now: Timestamp, scope: &Scope) -> Result<()> {
    rows.append_event(NewEvent::new(EventType::LimitsChanged, now).payload(json!({ "scope": scope })))
}
