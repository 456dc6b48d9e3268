//! Agents that are given no work for a while, since they did not start what they were given.
//!
//! They stand in the settings, so that a dispatcher of one server passes over whom the reaper of another found. They
//! are advice: two reapers that write at once may lose one, which then is found again a lease later.

use std::collections::BTreeMap;

use agentic_core::{clock::Timestamp, error::Result, id::AgentId, port::Settings};

/// Where they stand in the settings.
const KEY: &str = "dispatch.skips";
/// The most that are kept; further ones are given work as before.
const MOST: usize = 1_000;

type Skips = BTreeMap<AgentId, Timestamp>;

/// Those that are not over.
pub(crate) async fn read(settings: &dyn Settings, now: Timestamp) -> Result<Skips> {
    let text = settings.get(KEY).await?;
    let mut skips: Skips = text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    skips.retain(|_, until| *until > now);
    Ok(skips)
}

/// Passes over `agent` until `until`.
pub(crate) async fn add(
    settings: &dyn Settings,
    agent: &AgentId,
    until: Timestamp,
    now: Timestamp,
) -> Result<()> {
    let mut skips = read(settings, now).await?;
    if skips.len() < MOST {
        skips.insert(agent.clone(), until);
    }
    write(settings, &skips).await
}

/// Does not pass over `agent` any more.
pub(crate) async fn remove(settings: &dyn Settings, agent: &AgentId, now: Timestamp) -> Result<()> {
    let mut skips = read(settings, now).await?;
    if skips.remove(agent).is_some() {
        write(settings, &skips).await?;
    }
    Ok(())
}

async fn write(settings: &dyn Settings, skips: &Skips) -> Result<()> {
    let text = serde_json::to_string(skips).ok().filter(|_| !skips.is_empty());
    settings.put(KEY, text).await
}
