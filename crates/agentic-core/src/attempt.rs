//! Attempts: one execution of a task by one agent.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    id::{AgentId, JobId},
    job::JobOutcome,
    task::TaskResult,
};

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptOutcome {
    /// The work was done.
    Completed,
    /// The agent said that it failed.
    Failed,
    /// The lease ran out.
    Expired,
    /// It was given back.
    Released,
    /// The task was called off.
    Cancelled,
}

impl AttemptOutcome {
    /// What the allowance side makes of it; an expired attempt counts as failed.
    pub const fn job_outcome(self) -> JobOutcome {
        match self {
            Self::Completed => JobOutcome::Completed,
            Self::Failed | Self::Expired => JobOutcome::Failed,
            Self::Released => JobOutcome::Released,
            Self::Cancelled => JobOutcome::Cancelled,
        }
    }

    /// The name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Released => "released",
            Self::Cancelled => "cancelled",
        }
    }
}

/// One execution of a task, as the task side knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Which.
    pub id: JobId,
    /// Who has it.
    pub agent_id: AgentId,
    /// Which start of the agent has it; 0 where the agent did not say.
    pub incarnation: u64,
    /// When it was assigned.
    pub claimed_at: Timestamp,
    /// How long each renewal lasts.
    pub lease: Duration,
    /// The lease is not renewed past this (`max_job_duration_secs`).
    pub deadline: Option<Timestamp>,
    /// When its agent first acted on it.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How it ended.
    pub outcome: Option<AttemptOutcome>,
    /// A digest of what ended it, by which a repeated call is told from another one.
    pub digest: Option<String>,
    /// A digest of what came after its end and was kept as a `late_result`, so that it is kept once.
    pub late_digest: Option<String>,
}

impl Attempt {
    /// Until when a renewal at `now` lasts: one lease, but not past the deadline.
    pub fn renewed_until(&self, now: Timestamp) -> Timestamp {
        let until = now.plus(self.lease);
        self.deadline.map_or(until, |deadline| until.min(deadline))
    }
}

/// What follows a failed attempt; decided by policy, checked by the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Next {
    /// Another attempt, not before this; only while `retry_count < max_retries`.
    RetryAt(Timestamp),
    /// None; only from `retry_count = max_retries` on, or by an operator's hand.
    DeadLetter,
}

/// How somebody ends an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The work is done.
    Completed(TaskResult),
    /// It failed; burns a retry.
    Failed {
        /// What went wrong.
        error: String,
        /// What follows.
        next: Next,
    },
    /// The lease ran out; burns a retry where `next` says so. Refused while the lease lives.
    Expired {
        /// What follows; `None` for an attempt that never started, which burns nothing.
        next: Option<Next>,
    },
    /// Given back; burns nothing.
    Released {
        /// Why.
        reason: String,
    },
    /// Given back, and the task blocked until a person unblocks it; burns nothing.
    Blocked {
        /// Why.
        reason: String,
    },
}

impl Ending {
    /// How the attempt is recorded.
    pub const fn outcome(&self) -> AttemptOutcome {
        match self {
            Self::Completed(_) => AttemptOutcome::Completed,
            Self::Failed { .. } => AttemptOutcome::Failed,
            Self::Expired { next: Some(_) } => AttemptOutcome::Expired,
            Self::Expired { next: None } | Self::Released { .. } | Self::Blocked { .. } => {
                AttemptOutcome::Released
            }
        }
    }

    /// Whether it is the holder's own act, and so proves that the attempt started.
    pub const fn proves_start(&self) -> bool {
        matches!(self, Self::Completed(_) | Self::Failed { .. })
    }

    /// A digest of what the caller said; what policy added (the time of the retry) is left out.
    pub fn digest(&self) -> String {
        match self {
            Self::Completed(result) => crate::digest::of(&("completed", result)),
            Self::Failed { error, .. } => crate::digest::of(&("failed", error)),
            Self::Expired { .. } => crate::digest::of(&"expired"),
            Self::Released { reason } => crate::digest::of(&("released", reason)),
            Self::Blocked { reason } => crate::digest::of(&("blocked", reason)),
        }
    }
}
