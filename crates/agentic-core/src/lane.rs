//! Lanes: the tasks that need the same labels, model and project, and so wait for the same thing.

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    error::{Error, Result},
    id::{Label, ModelName, ProjectName, TaskId},
    limit::Scope,
    task::{PendingReason, Priority, Task},
};

/// What the tasks of a lane have in common; written `labels|model|project`, the labels separated by commas.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Lane {
    /// What an agent must be capable of.
    pub labels: BTreeSet<Label>,
    /// The model.
    pub model: Option<ModelName>,
    /// The project.
    pub project: Option<ProjectName>,
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, label) in self.labels.iter().enumerate() {
            write!(f, "{}{label}", if i == 0 { "" } else { "," })?;
        }
        let or_empty = |name: Option<&str>| name.unwrap_or_default().to_owned();
        write!(
            f,
            "|{}|{}",
            or_empty(self.model.as_ref().map(ModelName::as_str)),
            or_empty(self.project.as_ref().map(ProjectName::as_str))
        )
    }
}

impl FromStr for Lane {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let parts: Vec<&str> = text.split('|').collect();
        let [labels, model, project] = parts.as_slice() else {
            return Err(Error::invalid("lane", "must be labels|model|project"));
        };
        let labels =
            labels.split(',').filter(|label| !label.is_empty()).map(str::parse).collect::<Result<_>>()?;
        let model = (!model.is_empty()).then(|| model.parse()).transpose()?;
        let project = (!project.is_empty()).then(|| project.parse()).transpose()?;
        Ok(Self { labels, model, project })
    }
}

impl TryFrom<String> for Lane {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Lane> for String {
    fn from(lane: Lane) -> Self {
        lane.to_string()
    }
}

/// A task at the front of its lane: what the dispatcher needs to choose and to admit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Its id.
    pub id: TaskId,
    /// How urgent.
    pub priority: Priority,
    /// How old.
    pub created_at: Timestamp,
    /// Its latest attempt.
    pub attempt: u32,
    /// What to reserve.
    pub estimated_tokens: crate::amount::Amount,
}

impl Head {
    /// The head that `task` is.
    pub fn of(task: &Task) -> Self {
        Self {
            id: task.id.clone(),
            priority: task.priority,
            created_at: task.created_at,
            attempt: task.attempt,
            estimated_tokens: task.estimated_tokens,
        }
    }
}

/// A lane with at least one ready task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneView {
    /// Which.
    pub lane: Lane,
    /// Its first ready task.
    pub head: Head,
    /// Why it is parked, if it is.
    pub park: Option<Park>,
}

/// That a lane waits, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Park {
    /// What its tasks answer when asked.
    pub reason: PendingReason,
    /// The limit's scope, where a limit refused; raising a limit of that scope wakes the lane.
    pub scope: Option<Scope>,
    /// Since when.
    pub parked_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_read_what_they_write() {
        for text in ["||", "a,b|m/1|", "a||p", "|m|p"] {
            assert_eq!(text.parse::<Lane>().unwrap().to_string(), text);
        }
        assert!("a|b".parse::<Lane>().is_err());
        assert!("a|b|c|d".parse::<Lane>().is_err());
    }
}
