//! The port of the event log.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    error::Result,
    event::{Event, EventId, NewEvent},
};

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
    /// # Errors
    /// `Unavailable`.
    async fn append(&self, events: Vec<NewEvent>) -> Result<()>;

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

    /// Deletes at most `limit` of the oldest events from before `before`; answers how many.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn trim(&self, before: Timestamp, limit: usize) -> Result<usize>;
}
