//! Where agents wait for work. The log is read once for all who wait in this process, not once by each of them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use agentic_core::{
    error::{ConflictCode, Result},
    event::{Event, EventId, EventType},
    id::AgentId,
    port::EventLog,
};
use tokio::{sync::watch, task::JoinHandle, time::Instant};

/// How many events one read of the log brings.
const PAGE: usize = 256;
/// How long one wait for events lasts; then whoever waits no more is forgotten.
const WAIT: Duration = Duration::from_secs(5);
/// How long the reader pauses when the log cannot be read; who waits does so until its own deadline.
const PAUSE: Duration = Duration::from_secs(1);

/// Calls the agents that may have work.
#[derive(Debug, Default)]
pub(crate) struct Desk(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    /// By agent, who calls it.
    bells: HashMap<AgentId, watch::Sender<()>>,
    /// Reads the log while somebody waits.
    reader: Option<JoinHandle<()>>,
}

impl Waiting {
    fn is_read(&self) -> bool {
        self.reader.as_ref().is_some_and(|reader| !reader.is_finished())
    }
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What changes with every event after this call that may have work for `agent`.
    ///
    /// # Errors
    /// `Unavailable`.
    pub(crate) async fn wait_at(
        self: &Arc<Self>,
        log: &Arc<dyn EventLog>,
        agent: &AgentId,
    ) -> Result<watch::Receiver<()>> {
        let mut cursor = None;
        loop {
            {
                let mut waiting = self.lock();
                if waiting.is_read() || cursor.is_some() {
                    let bell = waiting.bells.entry(agent.clone()).or_default().subscribe();
                    if let Some(cursor) = cursor.filter(|_| !waiting.is_read()) {
                        waiting.reader = Some(tokio::spawn(read(Arc::clone(self), Arc::clone(log), cursor)));
                    }
                    return Ok(bell);
                }
            }
            cursor = Some(log.last().await?);
        }
    }

    /// Forgets who waits no more; whether nobody is left, and the reader is done.
    fn is_deserted(&self) -> bool {
        let mut waiting = self.lock();
        waiting.bells.retain(|_, bell| bell.receiver_count() > 0);
        if waiting.bells.is_empty() {
            waiting.reader = None;
        }
        waiting.bells.is_empty()
    }

    fn call(&self, events: &[Event]) {
        let waiting = self.lock();
        let may_have_work =
            |event: &&Event| matches!(event.kind, EventType::TaskDispatched | EventType::AgentRegistered);
        for agent in events.iter().filter(may_have_work).filter_map(|event| event.agent_id.as_ref()) {
            if let Some(bell) = waiting.bells.get(agent) {
                bell.send_replace(());
            }
        }
    }

    fn call_all(&self) {
        self.lock().bells.values().for_each(|bell| bell.send_replace(()));
    }
}

async fn read(desk: Arc<Desk>, log: Arc<dyn EventLog>, mut cursor: EventId) {
    let mut looked = Instant::now();
    loop {
        if looked.elapsed() >= WAIT {
            looked = Instant::now();
            if desk.is_deserted() {
                return;
            }
        }
        match read_on(&desk, &*log, cursor).await {
            Ok(next) => cursor = next,
            Err(error) => {
                tracing::debug!(%error, cursor, "cannot read the log for those who wait");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Reads what there is, or waits for more; answers with where to go on.
async fn read_on(desk: &Desk, log: &dyn EventLog, cursor: EventId) -> Result<EventId> {
    match log.after(cursor, PAGE).await {
        Ok(page) if !page.events.is_empty() => {
            desk.call(&page.events);
            Ok(page.cursor)
        }
        Ok(_) => {
            if log.wait(cursor, WAIT).await? {
                return Ok(cursor);
            }
            let last = log.last().await?;
            if last < cursor {
                // The store lost what it was told, in a failover: whoever waits looks for itself.
                desk.call_all();
            }
            Ok(last.min(cursor))
        }
        Err(error) if error.is_conflict(ConflictCode::CursorTrimmed) => {
            let last = log.last().await?;
            desk.call_all();
            Ok(last)
        }
        Err(error) => Err(error),
    }
}
