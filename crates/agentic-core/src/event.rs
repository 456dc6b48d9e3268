//! Events: what happened, in commit order.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    error::Error,
    id::{AgentId, TaskId},
};

/// A position in the log: the id of an event, 0 before the first.
pub type EventId = u64;

macro_rules! event_types {
    ($($(#[$doc:meta])* $variant:ident => $name:literal,)*) => {
        /// What happened (design §12).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum EventType {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)*
        }

        impl EventType {
            /// All types.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name in JSON.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

event_types! {
    /// A task was submitted.
    TaskCreated => "task_created",
    /// An agent has an attempt.
    TaskClaimed => "task_claimed",
    /// The dispatcher gave it to the agent.
    TaskDispatched => "task_dispatched",
    /// Progress, notes, or an edit.
    TaskUpdated => "task_updated",
    /// Done.
    TaskCompleted => "task_completed",
    /// An attempt failed; another follows.
    TaskRetryScheduled => "task_retry_scheduled",
    /// An attempt failed; none follows.
    TaskDeadLettered => "task_dead_lettered",
    /// A person blocked it.
    TaskBlocked => "task_blocked",
    /// It waits for nothing but an agent now.
    TaskUnblocked => "task_unblocked",
    /// Called off.
    TaskCancelled => "task_cancelled",
    /// The attempt was given back, and nothing burnt.
    TaskReleased => "task_released",
    /// A failed or cancelled task was put back by hand.
    TaskRequeued => "task_requeued",
    /// The attempt's lease ran out.
    LeaseExpired => "lease_expired",
    /// A fenced attempt brought something; kept for review.
    LateResult => "late_result",
    /// No agent fits a lane.
    DispatchFailedNoAgent => "dispatch_failed_no_agent",
    /// A limit keeps every fit agent from a lane.
    DispatchFailedQuota => "dispatch_failed_quota",
    /// An agent was started.
    AgentRegistered => "agent_registered",
    /// An agent was removed.
    AgentDeregistered => "agent_deregistered",
    /// An agent was silent for too long.
    AgentOffline => "agent_offline",
    /// It was heard of again.
    AgentOnline => "agent_online",
    /// A window crossed 80 %.
    QuotaWarning => "quota_warning",
    /// A limit refused.
    QuotaExceeded => "quota_exceeded",
    /// A job started or was settled.
    UsageRecorded => "usage_recorded",
    /// A limit was changed: by an operator, by the beginning of an anchored window, or by a provider's answer.
    LimitsChanged => "limits_changed",
}

/// Whose transitions tell something; where the three live on different stores, their events stand in different logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The tasks'.
    Tasks,
    /// The agents'.
    Agents,
    /// The allowances'.
    Allowances,
}

impl EventType {
    /// Whose transitions tell it.
    pub const fn side(self) -> Side {
        match self {
            Self::AgentRegistered | Self::AgentDeregistered | Self::AgentOffline | Self::AgentOnline => {
                Side::Agents
            }
            Self::QuotaWarning | Self::UsageRecorded | Self::LimitsChanged => Side::Allowances,
            // The last is told when a lane is parked.
            Self::TaskCreated
            | Self::TaskClaimed
            | Self::TaskDispatched
            | Self::TaskUpdated
            | Self::TaskCompleted
            | Self::TaskRetryScheduled
            | Self::TaskDeadLettered
            | Self::TaskBlocked
            | Self::TaskUnblocked
            | Self::TaskCancelled
            | Self::TaskReleased
            | Self::TaskRequeued
            | Self::LeaseExpired
            | Self::LateResult
            | Self::DispatchFailedNoAgent
            | Self::DispatchFailedQuota
            | Self::QuotaExceeded => Side::Tasks,
        }
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for EventType {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL
            .iter()
            .copied()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| Error::invalid("type", format!("{text:?} is no event type")))
    }
}

/// An event before the store has numbered it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewEvent {
    /// What happened.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// To which task.
    pub task_id: Option<TaskId>,
    /// By or to which agent.
    pub agent_id: Option<AgentId>,
    /// When.
    pub timestamp: Timestamp,
    /// Figures and texts, by type.
    pub payload: Option<serde_json::Value>,
}

impl NewEvent {
    /// An event about nothing in particular yet.
    pub fn new(kind: EventType, timestamp: Timestamp) -> Self {
        Self { kind, task_id: None, agent_id: None, timestamp, payload: None }
    }

    /// About this task.
    #[must_use]
    pub fn task(self, id: &TaskId) -> Self {
        Self { task_id: Some(id.clone()), ..self }
    }

    /// About this agent.
    #[must_use]
    pub fn agent(self, id: &AgentId) -> Self {
        Self { agent_id: Some(id.clone()), ..self }
    }

    /// With this payload.
    #[must_use]
    pub fn payload(self, payload: serde_json::Value) -> Self {
        Self { payload: Some(payload), ..self }
    }

    /// The event under its number.
    pub fn numbered(self, id: EventId) -> Event {
        let Self { kind, task_id, agent_id, timestamp, payload } = self;
        Event { id, kind, task_id, agent_id, timestamp, payload }
    }
}

/// The event as another log numbers it.
impl From<Event> for NewEvent {
    fn from(event: Event) -> Self {
        let Event { id: _, kind, task_id, agent_id, timestamp, payload } = event;
        Self { kind, task_id, agent_id, timestamp, payload }
    }
}

/// What happened, numbered by the store in commit order, so that a cursor never skips one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its place in the log, from 1.
    pub id: EventId,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// To which task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<TaskId>,
    /// By or to which agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentId>,
    /// When.
    pub timestamp: Timestamp,
    /// Figures and texts, by type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<serde_json::Value>,
}
