//! Where a proof keeps its fleet: a back end of its own that other processes can open too.

use std::{fmt, str::FromStr, time::Duration};

use agentic_core::port::Ports;
use agentic_store_redis::{RedisOptions, RedisStore, Safety};
use agentic_store_sqlite::{SqliteOptions, SqliteStore, Synchronous};
use agentic_testkit::redis::RedisServer;
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use tempfile::TempDir;
use tokio::net::TcpStream;

/// Which back end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Backend {
    Sqlite,
    Redis,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqlite => "SQLite",
            Self::Redis => "Redis",
        })
    }
}

/// How another process names a store: `sqlite:PATH`, or `redis://…` and after a space its prefix.
#[derive(Debug, Clone)]
pub(crate) enum Address {
    Sqlite(String),
    Redis { url: String, prefix: String },
}

impl Address {
    /// Opens the store. `before` hears of each statement of a SQLite writer before it is run.
    pub(crate) async fn open(&self, before: Option<fn(u64)>) -> Result<Ports> {
        Ok(match self {
            Self::Sqlite(path) => {
                // Not what an operator would choose: these proofs kill processes, and never the machine.
                let options = SqliteOptions::new().synchronous(Synchronous::Normal);
                let options =
                    before.map_or_else(|| options.clone(), |hook| options.clone().before_statement(hook));
                SqliteStore::open(path, options)?.ports()
            }
            Self::Redis { url, prefix } => {
                // Nothing here ends well when a machine without a core to spare answers late.
                let patience = Duration::from_mins(1);
                let options = RedisOptions::new().connect_timeout(patience).command_timeout(patience);
                let options = options.prefix(prefix).safety(Safety::Warn);
                RedisStore::connect(url, options).await?.ports()
            }
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{path}"),
            Self::Redis { url, prefix } => write!(f, "{url} {prefix}"),
        }
    }
}

impl FromStr for Address {
    type Err = anyhow::Error;
    fn from_str(text: &str) -> Result<Self> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            return Ok(Self::Sqlite(path.to_owned()));
        }
        let (url, prefix) = text.split_once(' ').context("is no address of a store")?;
        Ok(Self::Redis { url: url.to_owned(), prefix: prefix.to_owned() })
    }
}

/// What a proof runs on; ends with it.
#[derive(Debug)]
pub(crate) struct Place {
    dir: TempDir,
    redis: Option<Redis>,
}

/// A server, and ours where it is.
#[derive(Debug)]
struct Redis {
    url: String,
    _ours: Option<RedisServer>,
}

impl Place {
    /// A directory and, where one is needed, the Redis at the URL `redis`, or one that is started.
    pub(crate) async fn new(backend: Backend, redis: Option<&str>) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let redis = match (backend, redis) {
            (Backend::Sqlite, _) => None,
            (Backend::Redis, Some(url)) => Some(Redis { url: url.to_owned(), _ours: None }),
            (Backend::Redis, None) => Some(Redis::start().await?),
        };
        Ok(Self { dir, redis })
    }

    /// A store that nobody has used before.
    pub(crate) fn fresh(&self, name: &str) -> Address {
        match &self.redis {
            None => Address::Sqlite(self.dir.path().join(format!("{name}.db")).display().to_string()),
            Some(redis) => {
                let prefix = format!("proof-{}-{name}", std::process::id());
                Address::Redis { url: redis.url.clone(), prefix }
            }
        }
    }
}

impl Redis {
    async fn start() -> Result<Self> {
        let server = RedisServer::start(&[]);
        for _ in 0..1_200 {
            if TcpStream::connect(("127.0.0.1", server.port)).await.is_ok() {
                return Ok(Self { url: server.url.clone(), _ours: Some(server) });
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        bail!("redis-server does not answer on port {}", server.port)
    }
}
