//! The port of the event log.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    error::{ConflictCode, Error, Result},
    event::{Event, EventId, NewEvent},
};

/// Events that belong to no other transition.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Append {
    /// What is appended, in this order; may be none.
    pub events: Vec<NewEvent>,
    /// What is moved in the same step, and has to stand as it was believed to.
    pub mark: Option<Mark>,
}

impl From<Vec<NewEvent>> for Append {
    fn from(events: Vec<NewEvent>) -> Self {
        Self { events, mark: None }
    }
}

/// A compare-and-set of one value of [`super::Settings`], in the step of an [`Append`].
///
/// It is what lets any number of processes hand on the events of another log: whoever appends a part of it moves the
/// mark of how far it was handed on, and no part is appended twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Which setting.
    pub key: String,
    /// What it must be; `None` = not set.
    pub from: Option<String>,
    /// What it becomes.
    pub to: String,
}

impl Mark {
    /// Refuses a setting that is not what the caller believed.
    ///
    /// # Errors
    /// `Conflict` `mark_moved`.
    pub fn check(&self, stands: Option<&str>) -> Result<()> {
        if stands == self.from.as_deref() {
            return Ok(());
        }
        let detail = format!("the setting {} is not what it was", self.key);
        Err(Error::conflict(ConflictCode::MarkMoved, detail))
    }
}

/// A part of the log.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct EventPage {
    /// Ascending by id.
    pub events: Vec<Event>,
    /// Where to go on: the id of the last one, or the cursor that was asked for.
    pub cursor: EventId,
}

/// The durable, ordered, resumable log of what happened.
#[async_trait]
pub trait EventLog: fmt::Debug + Send + Sync + 'static {
    /// Appends events that belong to no other transition, all or none.
    ///
    /// # Atomicity
    /// One step with the mark (`an_append_moves_its_mark`, `a_mark_raced_for_moves_once`).
    ///
    /// # Errors
    /// `Conflict` `mark_moved` when the mark is not where the caller believed it; nothing is appended then.
    async fn append(&self, append: Append) -> Result<()>;

    /// Reads the events after a cursor, at most `limit`; ids are given in commit order, so none is ever skipped
    /// (`a_cursor_skips_nothing`).
    ///
    /// # Errors
    /// `Conflict` `cursor_trimmed` when events after the cursor were trimmed.
    async fn after(&self, cursor: EventId, limit: usize) -> Result<EventPage>;

    /// The id of the newest event, 0 when there was none.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn last(&self) -> Result<EventId>;

    /// Waits until the log may hold an event after `cursor`, at most `timeout`; answers whether it may.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn wait(&self, cursor: EventId, timeout: Duration) -> Result<bool>;

    /// Deletes at most `limit` of the oldest events from before `before`, and beside the log folds at most as many entries
    /// of the ledger, whose meters still add up (`a_fold_that_is_cut_off_still_adds_up`), and looks at as many jobs that
    /// ended. Answers the largest of the three numbers: below `limit`, none of them is left
    /// (`a_trim_tells_of_the_longer_of_the_two`, `a_trim_tells_of_ended_jobs`).
    ///
    /// # Errors
    /// `Unavailable`.
    async fn trim(&self, before: Timestamp, limit: usize) -> Result<usize>;
}
