//! Identifiers: newtypes over a string, validated once at the edge.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// The longest identifier, in bytes.
pub const MAX_ID_LEN: usize = 128;

/// Says what is wrong with `text`, if anything; `extra` are the characters allowed beyond letters and digits.
fn check(text: &str, extra: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("must not be empty");
    }
    if text.len() > MAX_ID_LEN {
        return Err("must have at most 128 characters");
    }
    if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err("must begin with a letter or digit");
    }
    if !text.chars().all(|c| c.is_ascii_alphanumeric() || extra.contains(c)) {
        return Err("has a character that is not allowed");
    }
    if text.contains("..") {
        return Err("must not contain '..'");
    }
    Ok(())
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $field:literal, $extra:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Validates `text`.
            ///
            /// # Errors
            /// `Invalid` when it breaks the rule above.
            pub fn try_new(text: impl AsRef<str>) -> Result<Self, Error> {
                let text = text.as_ref();
                check(text, $extra).map_err(|why| Error::invalid($field, format!("{:?} {why}", shorten(text))))?;
                Ok(Self(text.into()))
            }

            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self, Error> {
                Self::try_new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;
            fn try_from(text: String) -> Result<Self, Error> {
                Self::try_new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.as_ref().to_owned()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

/// Cuts what a stranger sent, so that it can stand in an error message.
fn shorten(text: &str) -> String {
    if text.chars().count() > 40 { text.chars().take(40).chain(['…']).collect() } else { text.to_owned() }
}

id! {
    /// A task's id: 1–128 of `[A-Za-z0-9._:@+-]`, beginning with a letter or digit, without `..`.
    TaskId, "task_id", "._:@+-"
}
id! {
    /// An agent's id: as a task's.
    AgentId, "agent_id", "._:@+-"
}
id! {
    /// A model's name: as a task's id, and `/`.
    ModelName, "model", "._:@+-/"
}
id! {
    /// A project's name: as a task's id, and `/`.
    ProjectName, "project", "._:@+-/"
}
id! {
    /// A label that a task needs and an agent's capability: as a task's id, and `/`; never a `,`.
    Label, "label", "._:@+-/"
}

/// A job: one attempt of one task, written `{task_id}#{attempt}`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobId {
    /// The task.
    pub task: TaskId,
    /// The attempt, from 1: the task's fence.
    pub attempt: u32,
}

impl JobId {
    /// Names the attempt `attempt` of `task`.
    pub fn new(task: TaskId, attempt: u32) -> Self {
        Self { task, attempt }
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.task, self.attempt)
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl FromStr for JobId {
    type Err = Error;

    /// Reads `{task_id}#{attempt}`; a bare task id (the Go library's job id) is read as its attempt 0.
    fn from_str(text: &str) -> Result<Self, Error> {
        let (task, attempt) = match text.split_once('#') {
            Some((task, attempt)) => (
                task,
                attempt
                    .parse()
                    .map_err(|_| Error::invalid("job_id", "the attempt after '#' must be a whole number"))?,
            ),
            None => (text, 0),
        };
        Ok(Self { task: task.parse()?, attempt })
    }
}

impl TryFrom<String> for JobId {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<JobId> for String {
    fn from(id: JobId) -> Self {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_of_ids() {
        for good in ["a", "0", "a.b_c:d@e+f-g", &"x".repeat(128)] {
            assert!(TaskId::try_new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", ".a", "a..b", "a b", "a/b", "ä", "a\n", &"x".repeat(129)] {
            assert!(TaskId::try_new(bad).is_err(), "{bad}");
        }
        assert!(ModelName::try_new("vendor/model-1").is_ok());
        assert!(Label::try_new("a,b").is_err());
    }

    #[test]
    fn serde_names_the_field_and_refuses() {
        let err = serde_json::from_str::<AgentId>("\"../x\"").unwrap_err().to_string();
        assert!(err.contains("agent_id"), "{err}");
    }

    #[test]
    fn job_ids_read_what_they_write() {
        let job: JobId = "t-1#3".parse().unwrap();
        assert_eq!((job.task.as_str(), job.attempt, job.to_string().as_str()), ("t-1", 3, "t-1#3"));
        assert!("t-1#x".parse::<JobId>().is_err());
    }
}
