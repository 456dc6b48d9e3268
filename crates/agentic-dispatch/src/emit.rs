//! Emitters: where committed events are handed to.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use agentic_core::{
    error::{ConflictCode, Result},
    event::{Event, EventId},
    port::EventLog,
};
use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// An event was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{emitter} did not take event {event}: {why}")]
pub struct EmitError {
    /// Who.
    pub emitter: String,
    /// Which.
    pub event: EventId,
    /// Why.
    pub why: String,
}

/// Takes events that were committed. It is fed from the log, never from the dispatch path.
#[async_trait]
pub trait EventEmitter: fmt::Debug + Send + Sync + 'static {
    /// Takes an event, or says why not; what it does not take is not offered again.
    ///
    /// # Errors
    /// [`EmitError`].
    async fn emit(&self, event: &Event) -> Result<(), EmitError>;
}

/// Hands events to a bounded channel; drops and counts what does not fit.
#[derive(Debug)]
pub struct ChannelEmitter {
    sender: mpsc::Sender<Event>,
    dropped: AtomicU64,
}

impl ChannelEmitter {
    /// A channel that holds `capacity` events (at least one), and its other end.
    pub fn new(capacity: usize) -> (Arc<Self>, mpsc::Receiver<Event>) {
        let (sender, receiver) = mpsc::channel(capacity.max(1));
        (Arc::new(Self { sender, dropped: AtomicU64::new(0) }), receiver)
    }

    /// How many events were dropped so far.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl EventEmitter for ChannelEmitter {
    async fn emit(&self, event: &Event) -> Result<(), EmitError> {
        self.sender.try_send(event.clone()).map_err(|error| {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            EmitError { emitter: "channel".to_owned(), event: event.id, why: error.to_string() }
        })
    }
}

/// Hands each event to every member; one that fails does not stop the others.
#[derive(Debug, Clone, Default)]
pub struct MultiEmitter {
    members: Vec<Arc<dyn EventEmitter>>,
}

impl MultiEmitter {
    /// An emitter of these members.
    pub fn new(members: Vec<Arc<dyn EventEmitter>>) -> Self {
        Self { members }
    }
}

#[async_trait]
impl EventEmitter for MultiEmitter {
    async fn emit(&self, event: &Event) -> Result<(), EmitError> {
        let mut failures = Vec::new();
        for member in &self.members {
            if let Err(error) = member.emit(event).await {
                failures.push(error.to_string());
            }
        }
        if failures.is_empty() {
            return Ok(());
        }
        Err(EmitError { emitter: "multi".to_owned(), event: event.id, why: failures.join("; ") })
    }
}

/// How many events one read of the log brings.
const PAGE: usize = 256;
/// How long one wait for events lasts.
const WAIT: Duration = Duration::from_secs(5);

/// Feeds an emitter with everything that is committed after `cursor`, until it is cancelled.
///
/// A store that is away is tried again; events that were trimmed before they were read are passed over, with a
/// warning.
pub async fn feed(
    log: Arc<dyn EventLog>,
    emitter: Arc<dyn EventEmitter>,
    cursor: EventId,
    stop: CancellationToken,
) {
    let mut cursor = cursor;
    while !stop.is_cancelled() {
        let page = match log.after(cursor, PAGE).await {
            Ok(page) => page,
            Err(error) => {
                tracing::warn!(%error, cursor, "cannot read events to emit");
                if error.is_conflict(ConflictCode::CursorTrimmed)
                    && let Ok(oldest) = after_trimmed(&*log, cursor).await
                {
                    cursor = oldest;
                    continue;
                }
                let _ = stop.run_until_cancelled(tokio::time::sleep(WAIT)).await;
                continue;
            }
        };
        for event in &page.events {
            if let Err(error) = emitter.emit(event).await {
                tracing::debug!(%error, "an event was not taken");
            }
        }
        if page.events.is_empty() {
            match stop.run_until_cancelled(log.wait(cursor, WAIT)).await {
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    tracing::warn!(%error, "cannot wait for events to emit");
                    let _ = stop.run_until_cancelled(tokio::time::sleep(WAIT)).await;
                }
                None => return,
            }
        }
        cursor = page.cursor;
    }
}

/// The first cursor after a trimmed one that the log takes, by halving what lies between it and the newest event.
pub(crate) async fn after_trimmed(log: &dyn EventLog, mut trimmed: EventId) -> Result<EventId> {
    let mut taken = log.last().await?;
    while taken > trimmed.saturating_add(1) {
        let middle = trimmed + (taken - trimmed) / 2;
        match log.after(middle, 1).await {
            Ok(_) => taken = middle,
            Err(error) if error.is_conflict(ConflictCode::CursorTrimmed) => trimmed = middle,
            Err(error) => return Err(error),
        }
    }
    Ok(taken)
}
