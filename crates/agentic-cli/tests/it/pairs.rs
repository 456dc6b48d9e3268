//! Back ends apart, as the factory puts them together: every case of the conformance suite with the tasks on one store,
//! and agents and allowances on another.

use std::{sync::Arc, time::Duration};

use agentic_cli::store::{Backends, StoreOptions, StoreUrl};
use agentic_client::{Client, remote_ports};
use agentic_core::{
    clock::SystemClock,
    error::Result,
    event::EventId,
    memory::Memory,
    port::{Append, EventLog, EventPage, Ports},
};
use agentic_dispatch::{Fleet, Outbox, Policy};
use agentic_server::Server;
use agentic_store_redis::{RedisOptions, Safety};
use agentic_testkit::{
    Fixture,
    redis::{RedisServer, URL_VAR, fresh_name},
};
use async_trait::async_trait;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

const KEEP: Duration = Duration::from_hours(24);
const TOKEN: &str = "the-token-of-the-tests";

/// The log of the tasks, of which whoever reads it can be sure that everything was handed on to it. Who waits for it
/// is woken by what runs beside.
#[derive(Debug)]
struct Relayed {
    log: Arc<dyn EventLog>,
    outbox: Outbox,
}

#[async_trait]
impl EventLog for Relayed {
    async fn append(&self, append: Append) -> Result<()> {
        self.log.append(append).await
    }

    async fn after(&self, cursor: EventId, limit: usize) -> Result<EventPage> {
        self.outbox.relay().await?;
        self.log.after(cursor, limit).await
    }

    async fn last(&self) -> Result<EventId> {
        self.outbox.relay().await?;
        self.log.last().await
    }

    async fn wait(&self, cursor: EventId, timeout: Duration) -> Result<bool> {
        self.log.wait(cursor, timeout).await
    }

    async fn trim(&self, before: agentic_core::clock::Timestamp, limit: usize) -> Result<usize> {
        // As the reaper does, of both.
        self.outbox.relay().await?;
        let there = self.outbox.trim(before.plus(KEEP), limit).await?;
        Ok(self.log.trim(before, limit).await?.max(there))
    }
}

/// A fleet with the tasks on one store and all else on another.
async fn apart(tasks: Ports, others: Ports) -> Fixture {
    let Backends { ports, outboxes, .. } = Backends::of(&[tasks, others], 1, 1, KEEP).await.unwrap();
    let [outbox] = <[Outbox; 1]>::try_from(outboxes).unwrap();
    let stop = CancellationToken::new();
    tokio::spawn({
        let (outbox, stop) = (outbox.clone(), stop.clone());
        async move { outbox.run(stop).await }
    });
    let events = Arc::new(Relayed { log: Arc::clone(&ports.events), outbox });
    let guard: DropGuard = stop.drop_guard();
    Fixture::new(Ports { events, ..ports }).holding(guard)
}

/// A file of its own, and what keeps it.
async fn sqlite() -> (Ports, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let url = StoreUrl::Sqlite(dir.path().join("agentic.db"));
    (url.open(&StoreOptions::new()).await.unwrap().ports, dir)
}

/// Keys of its own on the Redis that is given, or on one of its own.
async fn redis() -> (Ports, Option<RedisServer>) {
    let (url, own) = redis_url();
    // More than a machine without a core to spare takes.
    let patience = Duration::from_mins(1);
    let redis = RedisOptions::new().connect_timeout(patience).command_timeout(patience);
    let redis = redis.prefix(format!("test-{}", fresh_name())).safety(Safety::Warn);
    let (url, options) = (StoreUrl::Redis(url), StoreOptions::new().redis(redis));
    for _ in 0..2_400 {
        match url.open(&options).await {
            Ok(opened) => return (opened.ports, own),
            // A server that was just started is not there at once.
            Err(error) => assert!(error.is_retryable(), "{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{url} does not answer");
}

/// The Redis that is given, or one of its own.
pub(crate) fn redis_url() -> (String, Option<RedisServer>) {
    if let Ok(url) = std::env::var(URL_VAR) {
        return (url, None);
    }
    let own = RedisServer::start(&[]);
    (own.url.clone(), Some(own))
}

mod sqlite_and_redis {
    use super::{Fixture, apart, redis, sqlite};

    async fn fixture() -> Fixture {
        let ((tasks, file), (others, server)) = (sqlite().await, redis().await);
        apart(tasks, others).await.holding((file, server))
    }

    agentic_testkit::conformance!(fixture);
}

mod redis_and_sqlite {
    use super::{Fixture, apart, redis, sqlite};

    async fn fixture() -> Fixture {
        let ((tasks, server), (others, file)) = (redis().await, sqlite().await);
        apart(tasks, others).await.holding((file, server))
    }

    agentic_testkit::conformance!(fixture);
}

mod http_and_memory {
    use super::*;

    async fn fixture() -> Fixture {
        let fleet = Fleet::new(Memory::new().ports(), Arc::new(SystemClock), Policy::default()).unwrap();
        let server = Server::builder(fleet).admin_token(TOKEN).max_clock_skew(None).build().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        tokio::spawn(server.serve(listener, stop.clone()));
        let client = Client::builder(url).token(TOKEN).build().unwrap();
        apart(remote_ports(client), Memory::new().ports()).await.holding(stop.drop_guard())
    }

    agentic_testkit::conformance!(fixture);
}
