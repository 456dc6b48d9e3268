//! Why a task or a lane waits, with figures: what `explain` and a dry run answer (design §8).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    agent::AgentStatus,
    amount::Amount,
    clock::Timestamp,
    id::{AgentId, ModelName, TaskId},
    lane::Lane,
    limit::MeterKey,
    task::{PendingReason, Task},
};

/// What one task's state means now: the answer of `GET /api/tasks/{id}/explain`, and, for a task that does not exist, of
/// `POST /api/tasks?dry_run=true`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The task. In a dry run, as it would be created; its id is promised only if the submitter chose it.
    pub task: Task,
    /// Why it is where it is, and until when, where a time can be computed: one cause or several.
    pub because: Vec<PendingReason>,
    /// Who could take it; absent for a task that runs or is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prospects: Option<Prospects>,
}

/// What a lane waits for: the answer of `GET /api/lanes/explain`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LaneExplanation {
    /// The lane: `labels|model|project`.
    pub lane: Lane,
    /// Its first ready task, whose priority and ask count below; absent when none is ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<TaskId>,
    /// Why nothing moves.
    pub because: Vec<PendingReason>,
    /// Who could take its head.
    pub prospects: Prospects,
}

/// Who could take a task now, as far as a look can tell: it reserves nothing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Prospects {
    /// The agent that would get it now; absent when nobody would.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choice: Option<AgentId>,
    /// Agents, the likeliest first: those that could take it, in the order in which they would be tried, then those that a
    /// limit or a rule refuses, then those without a place, then those that do not fit.
    pub agents: Vec<AgentVerdict>,
    /// How many agents are not in that list, by what stands in their way.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub others: BTreeMap<Standing, u64>,
}

/// What one agent could do about a task now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentVerdict {
    /// Who.
    pub agent_id: AgentId,
    /// Whether it is alive, and has work.
    pub status: AgentStatus,
    /// Its live reservations.
    pub current_load: u32,
    /// How many it may have; 0 = unlimited.
    pub max_load: u32,
    /// The model that it would use: the task's, else its own default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelName>,
    /// Whether it could take the task, or the first thing that stands in its way.
    pub standing: Standing,
    /// That in words, with figures; absent where nothing stands in its way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it is worth another look, where that can be computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
    /// What the job would be held against, in the order in which refusals are told; empty for an agent that does not fit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<LimitState>,
}

/// Where an agent stands to a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Standing {
    /// It could take the task now.
    Fits,
    /// It may be able to: its limits were not looked at, as there are too many agents like it.
    NotAsked,
    /// A limit has no room.
    Limit,
    /// A rule that counts nothing refuses: the allowlist, a missing allowance, a model without a price.
    Rule,
    /// It is at its `max_load`.
    AtCapacity,
    /// It did not start what it was given, and is left alone for a while.
    Skipped,
    /// It runs an expired attempt, and is heard first after an outage.
    Grace,
    /// It asked for no more work.
    Draining,
    /// It has been silent for too long.
    Offline,
    /// It does not have the model.
    Model,
    /// It lacks a label.
    Labels,
}

impl Standing {
    /// The name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fits => "fits",
            Self::NotAsked => "not_asked",
            Self::Limit => "limit",
            Self::Rule => "rule",
            Self::AtCapacity => "at_capacity",
            Self::Skipped => "skipped",
            Self::Grace => "grace",
            Self::Draining => "draining",
            Self::Offline => "offline",
            Self::Model => "model",
            Self::Labels => "labels",
        }
    }
}

impl std::fmt::Display for Standing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// One limit as a job meets it: it has room if `used + reserved + asked ≤ cap`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitState {
    /// What is counted, for whom, over which time.
    pub key: MeterKey,
    /// What was used.
    pub used: Amount,
    /// What live reservations hold.
    pub reserved: Amount,
    /// What the job asks for: its estimated tokens, and at least one of everything.
    pub asked: Amount,
    /// How far it may go: tokens, jobs, requests, micro-dollars or places, by the meter.
    pub cap: Amount,
    /// Whether the job has room.
    pub room: bool,
    /// When the window itself will have made room; where it has some, when it will have let go of what it counts now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frees_at: Option<Timestamp>,
    /// It is a shadow: evaluated and told, never enforced.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shadow: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standing_is_written_as_it_is_called() {
        for standing in [Standing::Fits, Standing::NotAsked, Standing::AtCapacity, Standing::Labels] {
            assert_eq!(serde_json::to_value(standing).unwrap(), standing.as_str());
        }
        let others: BTreeMap<Standing, u64> = [(Standing::Offline, 2)].into();
        assert_eq!(serde_json::to_string(&others).unwrap(), r#"{"offline":2}"#);
    }
}
