//! The outbox: events of agents or allowances that live on another store than the tasks, handed on to the tasks' log.
//!
//! Such events stand in their own store's log, in the transaction that made them. From there any number of processes
//! hand them on, part by part: whoever appends a part to the tasks' log moves, in the same step, the mark of how far it
//! was handed on ([`Mark`]). So each event arrives exactly once and in order, whatever crashes, and whoever waits for
//! the tasks' log (dispatchers, followers, long polls) wakes by it.

use std::{sync::Arc, time::Duration};

use agentic_core::{
    clock::Timestamp,
    error::{ConflictCode, Error, Result},
    event::{EventId, NewEvent, Side},
    port::{Append, EventLog, EventPage, Mark, Ports, Settings},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::emit::after_trimmed;

/// The setting in which a store that has an outbox keeps the id that its mark goes by, so that a store that was made
/// anew begins with a mark of its own.
const ID: &str = "outbox.id";
/// How many events one part has at most.
const PART: usize = 256;
/// How long one wait for events lasts.
const WAIT: Duration = Duration::from_secs(5);
/// How long it waits after a failure.
const PAUSE: Duration = Duration::from_secs(1);

/// Hands on the events of one store to the log of the tasks; clones share it.
#[derive(Debug, Clone)]
pub struct Outbox {
    source: Arc<dyn EventLog>,
    log: Arc<dyn EventLog>,
    marks: Arc<dyn Settings>,
    /// The setting beside the tasks' log that says how far its events were handed on.
    key: String,
    sides: Vec<Side>,
    keep: Duration,
}

/// How far the events were handed on: the setting as it stands, and the cursor that it means.
#[derive(Debug)]
struct Handed {
    mark: Option<String>,
    cursor: EventId,
}

impl Outbox {
    /// What hands on to `tasks` the events of those `sides` that live on `store`, and deletes them there when they are
    /// older than `keep` and were handed on.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn open(store: &Ports, tasks: &Ports, sides: Vec<Side>, keep: Duration) -> Result<Self> {
        let key = format!("outbox.{}", id_of(store).await?);
        let (source, log, marks) = (&store.events, &tasks.events, &tasks.settings);
        Ok(Self { source: source.clone(), log: log.clone(), marks: marks.clone(), key, sides, keep })
    }

    /// Hands on whatever comes until it is cancelled; waits for it on the log of its store. A store that is away is
    /// logged and tried again.
    pub async fn run(&self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            // Between any two steps it may end, as in a crash: the mark says what was done.
            match stop.run_until_cancelled(self.turn()).await {
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    tracing::warn!(%error, "events of agents or allowances cannot be handed on");
                    let _ = stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
                }
                None => return,
            }
        }
    }

    /// Hands on all that there is; answers how many events it appended itself.
    ///
    /// # Errors
    /// `Unavailable`; what was handed on stays so.
    pub async fn relay(&self) -> Result<usize> {
        Ok(self.catch_up().await?.1)
    }

    /// Deletes at most `limit` of the oldest events of the store, and folds as much of its ledger, as far as they are
    /// older than they are kept and were handed on; answers the larger of the two numbers.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn trim(&self, now: Timestamp, limit: usize) -> Result<usize> {
        let next = match self.source.after(self.handed().await?.cursor, 1).await {
            Ok(page) => page.events.into_iter().next(),
            // Somebody else trimmed what was not handed on; that is told when the rest is.
            Err(error) if error.is_conflict(ConflictCode::CursorTrimmed) => return Ok(0),
            Err(error) => return Err(error),
        };
        // A trim ends before the first event that is not older than this.
        let old = now.minus(self.keep);
        self.source.trim(next.map_or(old, |event| event.timestamp.min(old)), limit).await
    }

    /// Hands on what there is, and waits for more.
    async fn turn(&self) -> Result<()> {
        let (handed, _) = self.catch_up().await?;
        if self.source.wait(handed.cursor, WAIT).await? {
            return Ok(());
        }
        let last = self.source.last().await?;
        if last < handed.cursor {
            // A failover lost the end of the log, and its numbers are given again.
            tracing::warn!(from = handed.cursor, to = last, "the log of agents or allowances went back");
            ignore_moved(self.append(&handed, last, Vec::new()).await)?;
        }
        Ok(())
    }

    async fn catch_up(&self) -> Result<(Handed, usize)> {
        let (mut handed, mut count) = (self.handed().await?, 0);
        loop {
            let page = self.after(&handed).await?;
            if page.cursor == handed.cursor {
                return Ok((handed, count));
            }
            let own = page.events.into_iter().filter(|event| self.sides.contains(&event.kind.side()));
            let events: Vec<NewEvent> = own.map(NewEvent::from).collect();
            let some = events.len();
            match self.append(&handed, page.cursor, events).await {
                Ok(next) => (handed, count) = (next, count + some),
                // Another process handed it on.
                Err(error) if error.is_conflict(ConflictCode::MarkMoved) => handed = self.handed().await?,
                Err(error) => return Err(error),
            }
        }
    }

    async fn handed(&self) -> Result<Handed> {
        let mark = self.marks.get(&self.key).await?;
        let cursor = mark.as_ref().map_or(Ok(0), |text| text.parse());
        let cursor = cursor.map_err(|error| Error::backend_from(format!("reading {}", self.key), error))?;
        Ok(Handed { mark, cursor })
    }

    /// The next part; goes on after what was trimmed before it was handed on, and says so.
    async fn after(&self, handed: &Handed) -> Result<EventPage> {
        let page = self.source.after(handed.cursor, PART).await;
        if !page.as_ref().is_err_and(|error| error.is_conflict(ConflictCode::CursorTrimmed)) {
            return page;
        }
        let oldest = after_trimmed(&*self.source, handed.cursor).await?;
        if handed.mark.is_some() {
            tracing::warn!(
                from = handed.cursor,
                to = oldest,
                "events of agents or allowances were trimmed before they were handed on"
            );
        }
        self.source.after(oldest, PART).await
    }

    /// Appends a part, and moves the mark from where it was to `cursor`.
    async fn append(&self, handed: &Handed, cursor: EventId, events: Vec<NewEvent>) -> Result<Handed> {
        let to = cursor.to_string();
        let mark = Mark { key: self.key.clone(), from: handed.mark.clone(), to: to.clone() };
        self.log.append(Append { events, mark: Some(mark) }).await?;
        Ok(Handed { mark: Some(to), cursor })
    }
}

fn ignore_moved(result: Result<Handed>) -> Result<()> {
    match result {
        Err(error) if !error.is_conflict(ConflictCode::MarkMoved) => Err(error),
        _ => Ok(()),
    }
}

/// The id of a store, which it is given here if it has none.
async fn id_of(store: &Ports) -> Result<String> {
    if let Some(id) = store.settings.get(ID).await? {
        return Ok(id);
    }
    let id = Uuid::now_v7().to_string();
    let mark = Mark { key: ID.to_owned(), from: None, to: id.clone() };
    match store.events.append(Append { events: Vec::new(), mark: Some(mark) }).await {
        Ok(()) => Ok(id),
        Err(error) if error.is_conflict(ConflictCode::MarkMoved) => {
            let theirs = store.settings.get(ID).await?;
            theirs.ok_or_else(|| Error::backend("reading the id of a store"))
        }
        Err(error) => Err(error),
    }
}
