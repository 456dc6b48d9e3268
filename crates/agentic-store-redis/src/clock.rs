//! The clock of the server, which all servers of a fleet go by.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use agentic_core::{
    clock::{Clock, SystemClock, Timestamp},
    error::Result,
};

use crate::{
    args::Args,
    script,
    store::{Inner, RedisStore},
};

/// How often the server's clock is read.
const EVERY: Duration = Duration::from_secs(10);
/// How far ours may be from it: less would follow the noise of the network, and go back by it.
const APART: Duration = Duration::from_millis(100);
/// An answer that took longer says too little.
const SLOW: Duration = Duration::from_secs(1);

/// The server's clock: its time when it was last read, and what passed since on this machine's monotonic clock.
#[derive(Debug)]
pub(crate) struct RedisClock(Mutex<Reading>);

/// The server's time at one instant of our monotonic clock, and how long it took to learn it.
#[derive(Debug, Clone, Copy)]
struct Reading {
    server: Timestamp,
    ours: Duration,
    took: Duration,
}

impl Reading {
    async fn take(store: &RedisStore) -> Result<Self> {
        let asked = SystemClock.monotonic();
        let server = store.ask(&script::TIME, Args::timeless()).await?.time()?;
        let took = SystemClock.monotonic().saturating_sub(asked);
        Ok(Self { server, ours: asked + took / 2, took })
    }

    fn at(&self, ours: Duration) -> Timestamp {
        self.server.plus(ours.saturating_sub(self.ours))
    }

    /// Whether `newer` shows that the server's clock is elsewhere than this reading says.
    fn is_wrong_by(&self, newer: &Self) -> bool {
        let expected = self.at(newer.ours);
        let apart = newer.server.since(expected).max(expected.since(newer.server));
        newer.took <= SLOW && apart > APART + newer.took / 2
    }
}

impl RedisClock {
    /// Reads the server's clock for the first time.
    pub(crate) async fn start(store: &RedisStore) -> Result<Self> {
        Ok(Self(Mutex::new(Reading::take(store).await?)))
    }

    fn reading(&self) -> Reading {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes by a newer reading, where it differs by more than the network explains.
    fn hear(&self, newer: Reading) {
        let known = self.reading();
        if known.is_wrong_by(&newer) {
            let (ours, theirs) = (known.at(newer.ours), newer.server);
            tracing::info!(%ours, %theirs, "going by the clock of redis");
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = newer;
        }
    }
}

impl Clock for RedisClock {
    fn now(&self) -> Timestamp {
        self.reading().at(SystemClock.monotonic())
    }

    fn monotonic(&self) -> Duration {
        SystemClock.monotonic()
    }
}

/// Reads the server's clock now and then, until the store is dropped.
pub(crate) async fn follow(clock: Arc<RedisClock>, store: Weak<Inner>) {
    loop {
        tokio::time::sleep(EVERY).await;
        let Some(inner) = store.upgrade() else { return };
        match Reading::take(&RedisStore { inner }).await {
            Ok(reading) => clock.hear(reading),
            // Ours goes on meanwhile.
            Err(error) => tracing::debug!(%error, "the clock of redis cannot be read now"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(server: i64, ours: u64, took: u64) -> Reading {
        let (ours, took) = (Duration::from_millis(ours), Duration::from_millis(took));
        Reading { server: Timestamp::from_millis(server), ours, took }
    }

    #[test]
    fn time_passes_between_two_readings() {
        let clock = RedisClock(Mutex::new(read(1_000_000, 500, 0)));
        assert_eq!(clock.reading().at(Duration::from_millis(800)).millis(), 1_000_300);
        clock.hear(read(1_010_000, 10_500, 4));
        assert_eq!(clock.reading().ours, Duration::from_millis(500), "as expected: nothing moves");
    }

    #[test]
    fn a_server_that_went_elsewhere_is_followed() {
        for (server, took, followed) in [
            (1_010_099, 0, false),
            (1_010_101, 0, true),
            (1_009_899, 0, true),
            (1_010_101, 100, false),
            (2_000_000, 1_000, true),
            (2_000_000, 1_001, false),
        ] {
            let clock = RedisClock(Mutex::new(read(1_000_000, 500, 0)));
            clock.hear(read(server, 10_500, took));
            let now = clock.reading().at(Duration::from_millis(10_500)).millis();
            assert_eq!(now, if followed { server } else { 1_010_000 }, "{server} after {took} ms");
        }
    }
}
