//! Agents: the registered executors.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    error::{Error, Result},
    id::{AgentId, Label, ModelName},
    task::check_labels,
};

/// The longest name of an agent, in characters.
pub const MAX_NAME: usize = 200;
/// The most models of one agent.
pub const MAX_MODELS: usize = 64;

/// Whether an agent can be given work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentStatus {
    /// Alive, without a live reservation.
    #[default]
    Available,
    /// Alive, with at least one.
    Busy,
    /// Silent for longer than its time to live.
    Offline,
}

impl AgentStatus {
    /// All statuses.
    pub const ALL: [Self; 3] = [Self::Available, Self::Busy, Self::Offline];

    /// The name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Busy => "busy",
            Self::Offline => "offline",
        }
    }
}

impl fmt::Display for AgentStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What an agent says of itself when it registers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentSpec {
    /// Its id.
    pub id: AgentId,
    /// For people; the id when empty.
    #[serde(default)]
    pub name: String,
    /// The labels that it can serve.
    #[serde(default)]
    pub capabilities: BTreeSet<Label>,
    /// The models that it can use, the default first; empty = any.
    #[serde(default)]
    pub models: Vec<ModelName>,
    /// How many attempts at once; 0 = unlimited.
    #[serde(default)]
    pub max_load: u32,
}

impl AgentSpec {
    /// An agent with an id, and the defaults.
    pub fn new(id: AgentId) -> Self {
        Self { name: id.to_string(), id, capabilities: BTreeSet::new(), models: Vec::new(), max_load: 0 }
    }

    /// Refuses what breaks a bound.
    ///
    /// # Errors
    /// `Invalid`, naming the field.
    pub fn validate(&self) -> Result<()> {
        if self.name.chars().count() > MAX_NAME || self.name.contains('\0') {
            return Err(Error::invalid("name", "must have at most 200 characters and no NUL character"));
        }
        check_labels("capabilities", &self.capabilities)?;
        if self.models.len() > MAX_MODELS {
            return Err(Error::invalid("models", "must be at most 64"));
        }
        Ok(())
    }
}

/// An agent as everybody sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentInfo {
    /// Its id.
    pub id: AgentId,
    /// For people.
    #[serde(default)]
    pub name: String,
    /// The labels that it can serve.
    #[serde(default)]
    pub capabilities: BTreeSet<Label>,
    /// The models that it can use, the default first; empty = any.
    #[serde(default)]
    pub models: Vec<ModelName>,
    /// Whether it can be given work. A registry stores only whether it is offline; services add `busy`.
    #[serde(default)]
    pub status: AgentStatus,
    /// Whether it asked for no more work.
    #[serde(default)]
    pub draining: bool,
    /// When it was last heard of.
    pub last_heartbeat: Timestamp,
    /// Its live reservations; 0 from a registry, which does not know.
    #[serde(default)]
    pub current_load: u32,
    /// How many attempts at once; 0 = unlimited.
    #[serde(default)]
    pub max_load: u32,
    /// When it was first registered.
    pub registered_at: Timestamp,
    /// Which start of it this is, from 1.
    #[serde(default)]
    pub incarnation: u64,
}

impl AgentInfo {
    /// The model of a task that names none: the first of its models.
    pub fn default_model(&self) -> Option<&ModelName> {
        self.models.first()
    }

    /// Whether it can use `model`; a task without a model fits everywhere.
    pub fn can_use(&self, model: Option<&ModelName>) -> bool {
        model.is_none_or(|model| self.models.is_empty() || self.models.contains(model))
    }

    /// Fills in the number of its live reservations, which has no second copy; with some it is busy.
    pub fn set_load(&mut self, load: u32) {
        self.current_load = load;
        if self.status == AgentStatus::Available && load > 0 {
            self.status = AgentStatus::Busy;
        }
    }

    /// Whether one more job fits under `max_load`.
    pub fn has_room(&self) -> bool {
        self.max_load == 0 || self.current_load < self.max_load
    }
}
