//! Being told to end.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;

/// How a process is told to end: once to come to an end, twice to end now.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop {
    /// Come to an end.
    pub gently: CancellationToken,
    /// End now.
    pub now: CancellationToken,
}

impl Stop {
    /// Listens to SIGTERM and SIGINT from now on.
    ///
    /// # Errors
    /// When the system does not let it.
    pub(crate) fn on_signals() -> Result<Self, Failure> {
        let listen =
            |kind| signal(kind).map_err(|error| Failure::because("cannot listen to signals", &error));
        let (mut term, mut int) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
        let stop = Self::default();
        let told = stop.clone();
        tokio::spawn(async move {
            either(&mut term, &mut int).await;
            told.gently.cancel();
            either(&mut term, &mut int).await;
            told.now.cancel();
        });
        Ok(stop)
    }
}

async fn either(term: &mut Signal, int: &mut Signal) {
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}
