//! Where a proof keeps its fleet: a back end of its own that other processes can open too.

use std::{
    fmt,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    str::FromStr,
    time::Duration,
};

use agentic_core::port::Ports;
use agentic_store_redis::{RedisOptions, RedisStore, Safety};
use agentic_store_sqlite::{SqliteOptions, SqliteStore, Synchronous};
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use tempfile::TempDir;

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
                let options = RedisOptions::new().prefix(prefix).safety(Safety::Warn);
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

/// A server; one of our own is killed with this.
#[derive(Debug)]
struct Redis {
    child: Option<Child>,
    url: String,
}

impl Place {
    /// A directory and, where one is needed, the Redis at the URL `redis`, or one that is started.
    pub(crate) async fn new(backend: Backend, redis: Option<&str>) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let redis = match (backend, redis) {
            (Backend::Sqlite, _) => None,
            (Backend::Redis, Some(url)) => Some(Redis { child: None, url: url.to_owned() }),
            (Backend::Redis, None) => Some(Redis::start(dir.path()).await?),
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
    async fn start(dir: &Path) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("cannot start redis-server; install it, or name a Redis by --redis")?;
        let redis = Self { child: Some(child), url: format!("redis://127.0.0.1:{port}/0") };
        for _ in 0..200 {
            if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return Ok(redis);
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        bail!("redis-server does not answer on port {port}")
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child
            && let Err(error) = child.kill().and_then(|()| child.wait().map(drop))
        {
            eprintln!("cannot end redis-server: {error}");
        }
    }
}
