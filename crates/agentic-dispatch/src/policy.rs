//! What an operator can choose.

use std::{collections::BTreeSet, time::Duration};

use agentic_core::{
    allowance::AgentAllowance,
    amount::Amount,
    backoff::Backoff,
    error::{Error, Result},
    id::{AgentId, ModelName},
};

/// Every choice of policy, with its default.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// How often an agent says that it lives; 10 s.
    pub heartbeat: Duration,
    /// How long a dispatched attempt's lease lasts without one, at least three heartbeats; 60 s.
    pub lease: Duration,
    /// How long the lease of an attempt lasts that an agent claimed itself without saying; 1 h.
    pub claim_lease: Duration,
    /// After how long a silence an agent is offline; 30 s.
    pub agent_ttl: Duration,
    /// How long a failed task waits; 5 s doubling up to 1 h.
    pub backoff: Backoff,
    /// The seed of the jitter of retries; absent = a random one.
    pub jitter_seed: Option<u64>,
    /// How often the dispatcher looks without being woken; 5 s.
    pub tick: Duration,
    /// What an agent may use that has no allowance; absent = nothing.
    pub default_allowance: Option<DefaultAllowance>,
    /// Whether a task that nobody can take burns retries; it does not.
    pub undispatchable: Undispatchable,
    /// How long finished tasks are kept; 30 days.
    pub keep_tasks: Duration,
    /// How long events are kept; 30 days.
    pub keep_events: Duration,
}

/// What happens to a task that no agent can take now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Undispatchable {
    /// It waits; nothing is burnt.
    #[default]
    Defer,
    /// Each look that finds nobody is a failed attempt: backoff, and in the end the dead letter.
    Count,
}

/// The allowance of an agent that has none of its own; 0 or empty = unlimited.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DefaultAllowance {
    /// Tokens a UTC day.
    pub daily_token_limit: Amount,
    /// Jobs a UTC day.
    pub daily_job_limit: Amount,
    /// Jobs at once.
    pub concurrent_jobs: Amount,
    /// How long one attempt may take.
    pub max_job_duration: Duration,
    /// The models that it may use.
    pub model_allowlist: BTreeSet<ModelName>,
}

impl DefaultAllowance {
    /// This allowance, for one agent.
    pub fn for_agent(&self, agent: &AgentId) -> AgentAllowance {
        AgentAllowance {
            agent_id: agent.clone(),
            daily_token_limit: self.daily_token_limit,
            daily_job_limit: self.daily_job_limit,
            concurrent_jobs: self.concurrent_jobs,
            max_job_duration_secs: agentic_core::task::whole_secs(self.max_job_duration),
            model_allowlist: self.model_allowlist.clone(),
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        let days = |n: u64| Duration::from_secs(n * 86_400);
        Self {
            heartbeat: Duration::from_secs(10),
            lease: Duration::from_mins(1),
            claim_lease: Duration::from_hours(1),
            agent_ttl: Duration::from_secs(30),
            backoff: Backoff::default(),
            jitter_seed: None,
            tick: Duration::from_secs(5),
            default_allowance: None,
            undispatchable: Undispatchable::Defer,
            keep_tasks: days(30),
            keep_events: days(30),
        }
    }
}

impl Policy {
    /// Refuses times that cannot work together.
    ///
    /// # Errors
    /// `Invalid`, naming the setting.
    pub fn validate(&self) -> Result<()> {
        let second = Duration::from_secs(1);
        if self.heartbeat.is_zero() {
            return Err(Error::invalid("heartbeat", "must be longer than nothing"));
        }
        if self.lease < self.heartbeat * 3 || self.lease < second {
            return Err(Error::invalid("lease", "must be at least three heartbeats, and at least 1s"));
        }
        if self.claim_lease < second {
            return Err(Error::invalid("claim_lease", "must be at least 1s"));
        }
        if self.agent_ttl < self.heartbeat {
            return Err(Error::invalid("agent_ttl", "must be at least one heartbeat"));
        }
        if self.tick.is_zero() {
            return Err(Error::invalid("tick", "must be longer than nothing"));
        }
        if self.backoff.base > self.backoff.cap {
            return Err(Error::invalid("backoff_base", "must be at most backoff_cap"));
        }
        Ok(())
    }

    /// How often the reaper sweeps: six times a lease, and at least as often as the dispatcher looks.
    pub fn sweep_every(&self) -> Duration {
        (self.lease / 6).min(self.tick)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_impossible_times_are_not() {
        assert!(Policy::default().validate().is_ok());
        let secs = Duration::from_secs;
        for bad in [
            Policy { lease: secs(29), ..Policy::default() },
            Policy { agent_ttl: secs(9), ..Policy::default() },
            Policy { tick: Duration::ZERO, ..Policy::default() },
            Policy { heartbeat: Duration::ZERO, ..Policy::default() },
            Policy { backoff: Backoff { base: secs(2), cap: secs(1) }, ..Policy::default() },
        ] {
            assert!(bad.validate().is_err(), "{bad:?}");
        }
    }
}
