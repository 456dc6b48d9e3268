//! The one who waits on the log for everybody of this process.

use std::{
    sync::{Arc, PoisonError, Weak},
    time::Duration,
};

use agentic_core::{
    error::{Error, Result},
    event::EventId,
};
use fred::{
    clients::Client,
    error::ErrorKind,
    interfaces::{ClientLike, StreamsInterface},
    types::Value,
};
use tokio::time::{sleep, timeout};

use crate::{
    error::{storage, unreadable},
    reply::Reply,
    rows::stream_id,
    store::Inner,
};

/// How long one look at the log waits; between two, a store that nobody holds any more is noticed.
const LOOK: u64 = 5_000;

/// The shortest and the longest pause after a failure.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Sees to it that somebody waits.
pub(crate) fn ensure(inner: &Arc<Inner>) {
    let mut running = inner.follower.lock().unwrap_or_else(PoisonError::into_inner);
    if running.as_ref().is_none_or(tokio::task::JoinHandle::is_finished) {
        *running = Some(tokio::spawn(follow(Arc::downgrade(inner))));
    }
}

/// Follows the log until the store is dropped.
async fn follow(store: Weak<Inner>) {
    let mut pause = PAUSES.0;
    let mut client: Option<Client> = None;
    while let Some(inner) = store.upgrade() {
        let connected = match client.take() {
            Some(client) => Ok(client),
            None => inner.waiting_client().await,
        };
        let looked = match connected {
            Ok(connected) => {
                // A host that vanished says nothing, and nobody else notices on a connection that waits.
                let patience = Duration::from_millis(LOOK) + inner.options.command_timeout * 2;
                let (again, looked) = (inner.options.connect_timeout, look(inner, &connected));
                let looked = match timeout(patience, looked).await {
                    Ok(looked) => looked,
                    Err(late) => {
                        drop(timeout(again, connected.force_reconnection()).await);
                        Err(Error::unavailable_from("the log", late))
                    }
                };
                client = Some(connected);
                looked
            }
            Err(error) => {
                drop(inner);
                Err(error)
            }
        };
        match looked {
            Ok(()) => pause = PAUSES.0,
            Err(error) => {
                tracing::debug!(error = %error, "the event log cannot be followed now");
                sleep(pause).await;
                pause = (pause * 2).min(PAUSES.1);
            }
        }
    }
    if let Some(client) = client {
        // The store is gone; whether the goodbye arrives does not matter.
        drop(client.quit().await);
    }
}

/// Tells the newest event, and waits for the next.
async fn look(inner: Arc<Inner>, client: &Client) -> Result<()> {
    let last = inner.command(client, "GET", "event:last", &[]).await?.into_string();
    let last: EventId = last.map_or(Ok(0), |text| text.parse().map_err(unreadable))?;
    tell(&inner, last);
    let key = inner.key("events");
    let store = Arc::downgrade(&inner);
    // Nobody is kept alive by who waits for him.
    drop(inner);
    let read: Result<Value, _> = client.xread(Some(1), Some(LOOK), key, format!("{last}-0")).await;
    let found = match read {
        Ok(Value::Null) => return Ok(()),
        Ok(found) => found,
        Err(error) if *error.kind() == ErrorKind::Timeout => return Ok(()),
        Err(error) => return Err(storage(error)),
    };
    let mut stream = Reply::of(found)?.list()?;
    stream.text()?;
    let id = stream_id(&stream.list()?.list()?.text()?)?;
    if let Some(inner) = store.upgrade() {
        tell(&inner, id);
    }
    Ok(())
}

/// After a failover the newest event may be an older one: who believed in the lost ones would never wait again.
fn tell(inner: &Inner, id: EventId) {
    inner.newest.send_if_modified(|known| std::mem::replace(known, id) != id);
}
