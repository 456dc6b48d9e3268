//! What happens to one task, line by line.

use std::{collections::VecDeque, fmt::Write as _};

use agentic_core::{
    error::{Error, Result},
    event::{Event, EventId, EventType},
    id::TaskId,
    task::Task,
    text::visible,
};
use futures_util::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use serde_json::Value;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use crate::Client;

/// How many events are read at once.
const PAGE: usize = 100;
/// How much of one value a line shows, in characters.
const MAX_VALUE: usize = 200;

impl Client {
    /// Follows one task from its creation: each event once, as it comes, until the task is over.
    ///
    /// A task that is requeued goes on. Ends with the first error: `NotFound`, or as [`Client::events`].
    pub fn follow(&self, id: &TaskId) -> BoxStream<'static, Result<Event>> {
        let trail =
            Trail { client: self.clone(), id: id.clone(), cursor: 0, read: VecDeque::new(), live: None };
        let next = |mut trail: Trail| async move { Ok(trail.next().await?.map(|event| (event, trail))) };
        stream::try_unfold(trail, next).boxed()
    }

    /// Writes a line for each change of a task, as it comes, until the task is over; answers with how it ended.
    ///
    /// # Errors
    /// As [`Client::follow`]; `Backend` when `out` cannot be written.
    pub async fn stream_logs(&self, id: &TaskId, out: &mut (impl AsyncWrite + Unpin)) -> Result<Task> {
        let unwritable = |error| Error::backend_from("writing the log", error);
        let mut events = self.follow(id);
        while let Some(event) = events.try_next().await? {
            let line = log_line(&event) + "\n";
            out.write_all(line.as_bytes()).await.map_err(unwritable)?;
            out.flush().await.map_err(unwritable)?;
        }
        self.get_task(id).await
    }
}

/// An event as one line: when, what, who, and its figures and texts, cut to 200 characters and made visible.
pub fn log_line(event: &Event) -> String {
    let mut line = format!("{}  {}", event.timestamp, event.kind);
    if let Some(agent) = &event.agent_id {
        let _ = write!(line, "  {agent}");
    }
    let Some(Value::Object(payload)) = &event.payload else { return line };
    for (name, value) in payload.iter().filter(|(_, value)| !value.is_null()) {
        let value = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let mut shown: String = value.chars().take(MAX_VALUE).collect();
        if shown.len() < value.len() {
            shown.push('…');
        }
        let _ = write!(line, "  {}={}", visible(name), visible(&shown));
    }
    line
}

/// The events of one task: what was written, then what comes.
struct Trail {
    client: Client,
    id: TaskId,
    /// The last event that was handed on.
    cursor: EventId,
    /// Read and not handed on.
    read: VecDeque<Event>,
    /// What comes, while the task is not known to be over.
    live: Option<BoxStream<'static, Result<Event>>>,
}

impl Trail {
    async fn next(&mut self) -> Result<Option<Event>> {
        let event = match &mut self.live {
            Some(live) => live.try_next().await?,
            None => self.recorded().await?,
        };
        let Some(event) = event else { return Ok(None) };
        self.cursor = event.id;
        let ends = [EventType::TaskCompleted, EventType::TaskDeadLettered, EventType::TaskCancelled];
        if ends.contains(&event.kind) {
            // What the same step appended behind it is read from the record, and then the task says if it is over.
            self.live = None;
        }
        Ok(Some(event))
    }

    /// The next event of the record; at its end the first that comes, or `None` when the task is over.
    async fn recorded(&mut self) -> Result<Option<Event>> {
        loop {
            if self.read.is_empty() {
                self.read = self.client.history(&self.id, self.cursor, PAGE).await?.into();
            }
            if let Some(event) = self.read.pop_front() {
                return Ok(Some(event));
            }
            if self.client.get_task(&self.id).await?.status.is_final() {
                // It may have ended since the record was read.
                self.read = self.client.history(&self.id, self.cursor, PAGE).await?.into();
                if self.read.is_empty() {
                    return Ok(None);
                }
            } else {
                let live = self.live.insert(self.client.events(Some(self.cursor), Some(&self.id)));
                return live.try_next().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use agentic_core::{clock::Timestamp, event::NewEvent};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_is_one_line_without_tricks() {
        let payload =
            json!({ "attempt": 1, "error": "a\nb\u{1b}[2J", "none": null, "sent": {"x": "\u{202e}"} });
        let event = NewEvent::new(EventType::TaskRetryScheduled, Timestamp::EPOCH)
            .agent(&"a-1".parse().unwrap())
            .payload(payload)
            .numbered(1);
        let line = log_line(&event);
        assert_eq!(
            line,
            r#"1970-01-01T00:00:00.000Z  task_retry_scheduled  a-1  attempt=1  error=a\nb\u{1b}[2J  sent={"x":"\u{202e}"}"#
        );
    }

    #[test]
    fn long_values_are_cut() {
        let event = NewEvent::new(EventType::TaskUpdated, Timestamp::EPOCH);
        let line = log_line(&event.payload(json!({ "notes": "ä".repeat(201) })).numbered(1));
        assert!(line.ends_with(&format!("notes={}…", "ä".repeat(200))), "{line}");
    }
}
