//! The crew that keeps a fleet going: dispatchers, a reaper, and what hands events on.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use agentic_core::{error::Result, event::Event};
use agentic_dispatch::{EmitError, EventEmitter, Fleet, LeastLoaded, feed};
use async_trait::async_trait;
use futures_util::FutureExt as _;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long one who fell waits before it goes on.
const PAUSE: Duration = Duration::from_secs(1);
/// Where events are logged.
const TARGET: &str = "agentic::events";

/// Runs so many dispatchers, a reaper, what hands on the events of other stores, and a log of events (target
/// `agentic::events`, at debug) until `stop` is cancelled. One that panics or gives up is logged and started anew; dropping the future ends them all.
pub async fn run_fleet(fleet: Fleet, dispatchers: usize, stop: CancellationToken) {
    let mut crew = JoinSet::new();
    for _ in 0..dispatchers {
        let (fleet, token) = (fleet.clone(), stop.clone());
        crew.spawn(supervise("dispatcher", stop.clone(), move || {
            let (fleet, stop) = (fleet.clone(), token.clone());
            async move {
                fleet.dispatcher(Arc::new(LeastLoaded)).run(stop).await;
                Ok(())
            }
        }));
    }
    let (reaped, token) = (fleet.clone(), stop.clone());
    crew.spawn(supervise("reaper", stop.clone(), move || {
        let (fleet, stop) = (reaped.clone(), token.clone());
        async move {
            fleet.reaper().run(stop).await;
            Ok(())
        }
    }));
    for outbox in fleet.outboxes().to_vec() {
        let token = stop.clone();
        crew.spawn(supervise("outbox", stop.clone(), move || {
            let (outbox, stop) = (outbox.clone(), token.clone());
            async move {
                outbox.run(stop).await;
                Ok(())
            }
        }));
    }
    // Reading the log costs the store something, so it is read only where somebody looks.
    if tracing::enabled!(target: TARGET, tracing::Level::DEBUG) {
        let token = stop.clone();
        crew.spawn(supervise("log of events", stop, move || {
            let (fleet, stop) = (fleet.clone(), token.clone());
            async move {
                let log = Arc::clone(&fleet.ports().events);
                let cursor = log.last().await?;
                feed(log, Arc::new(EventTrace), cursor, stop).await;
                Ok(())
            }
        }));
    }
    while crew.join_next().await.is_some() {}
}

/// Runs what `make` makes until `stop` is cancelled, again after each end.
async fn supervise<F>(name: &'static str, stop: CancellationToken, make: impl Fn() -> F)
where
    F: Future<Output = Result<()>>,
{
    while !stop.is_cancelled() {
        let ended = AssertUnwindSafe(async { make().await }).catch_unwind().await;
        if stop.is_cancelled() {
            return;
        }
        match ended {
            Ok(Ok(())) => tracing::error!(name, "ended by itself; starting it anew"),
            Ok(Err(error)) => tracing::error!(name, %error, "failed; starting it anew"),
            Err(_) => tracing::error!(name, "panicked; starting it anew"),
        }
        let _ = stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
    }
}

/// Logs events, without their payloads: those are texts of strangers.
#[derive(Debug)]
struct EventTrace;

#[async_trait]
impl EventEmitter for EventTrace {
    async fn emit(&self, event: &Event) -> Result<(), EmitError> {
        let Event { id, kind, task_id, agent_id, .. } = event;
        tracing::debug!(target: TARGET, id, %kind, task = ?task_id, agent = ?agent_id);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use agentic_core::error::Error;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_who_falls_goes_on() {
        let (starts, stop) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
        let (counted, ending) = (Arc::clone(&starts), stop.clone());
        let crew = supervise("test", stop, move || {
            let (starts, stop) = (Arc::clone(&counted), ending.clone());
            async move {
                match starts.fetch_add(1, Ordering::SeqCst) {
                    0 => panic!("as in a bug"),
                    1 => Err(Error::unavailable("the store")),
                    2 => Ok(()),
                    _ => {
                        stop.cancel();
                        Ok(())
                    }
                }
            }
        });
        crew.await;
        assert_eq!(starts.load(Ordering::SeqCst), 4);
    }
}
