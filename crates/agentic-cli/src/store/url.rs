//! A back end by its URL.

use std::{fmt, path::PathBuf, str::FromStr, sync::Arc};

use agentic_client::{Client, remote_ports};
use agentic_core::{
    clock::{Clock, SystemClock},
    error::{Error, Result},
    memory::Memory,
    port::Ports,
    rpc,
};
use agentic_store_redis::{RedisOptions, RedisStore};
use agentic_store_sqlite::{ServeLock, SqliteOptions, SqliteStore};

use super::{mask::without_password, tenant::Tenant};

/// The back ends that can keep anything, for error messages.
const KNOWN: &str = "memory:, sqlite:PATH, redis://HOST";
/// The one that can keep everything or the tasks alone.
const REMOTE: &str = "http://HOST";
/// What the URL of a Redis begins with.
const REDIS: [&str; 6] =
    ["redis", "rediss", "redis-cluster", "rediss-cluster", "redis-sentinel", "rediss-sentinel"];

/// What the URL of another server begins with.
const HTTP: [&str; 2] = ["http", "https"];

/// A back end, by its URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// `memory:`: nothing survives the process.
    Memory,
    /// `sqlite:PATH`: one file.
    Sqlite(PathBuf),
    /// `redis://…` and its kin, as [`RedisStore::connect`] takes them: shared by any number of servers.
    Redis(String),
    /// `http://…` or `https://…`: another server of agentic, which keeps it.
    Http(String),
}

/// A back end that is open.
#[derive(Debug, Clone)]
pub struct Opened {
    /// Every port.
    pub ports: Ports,
    /// What the servers of its tasks take the time from: this machine's clock, or that of the Redis that several share.
    pub clock: Arc<dyn Clock>,
}

/// What a back end needs beside its URL.
#[derive(Clone, Default)]
pub struct StoreOptions {
    redis: RedisOptions,
    token: Option<String>,
}

impl StoreOptions {
    /// The defaults of a Redis, and no token.
    pub fn new() -> Self {
        Self::default()
    }

    /// How a Redis is used; default [`RedisOptions::new`].
    #[must_use]
    pub fn redis(self, redis: RedisOptions) -> Self {
        Self { redis, ..self }
    }

    /// What is shown to a server that keeps the store, of the role `dispatcher` or `admin`; default none.
    #[must_use]
    pub fn token(self, token: impl Into<String>) -> Self {
        Self { token: Some(token.into()), ..self }
    }
}

/// The token is left out.
impl fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreOptions").field("redis", &self.redis).finish_non_exhaustive()
    }
}

impl StoreUrl {
    /// Reads the URL of a setting: only `store` may be another server's, as agents and allowances cannot be kept there
    /// without the tasks.
    ///
    /// # Errors
    /// `Invalid` for a URL of no known kind, naming the setting and the known ones.
    pub fn parse_for(setting: &str, url: &str) -> Result<Self> {
        let remote = setting == "store";
        let wrong = |why: &str| {
            let more = if remote { ", " } else { "" };
            let detail =
                format!("{why}; the back ends are {KNOWN}{more}{}", if remote { REMOTE } else { "" });
            Err(Error::invalid(setting, detail))
        };
        match url.split_once(':') {
            Some(("memory", "")) => Ok(Self::Memory),
            Some(("sqlite", ":memory:")) => wrong("sqlite::memory: would forget everything"),
            Some(("sqlite", path)) => match path.strip_prefix("//").unwrap_or(path) {
                "" => wrong("sqlite: names no file"),
                path => Ok(Self::Sqlite(path.into())),
            },
            Some((scheme, rest)) if REDIS.contains(&scheme) || (remote && HTTP.contains(&scheme)) => {
                match rest.strip_prefix("//") {
                    None | Some("") => wrong(&format!("{scheme}: names no host")),
                    Some(_) if HTTP.contains(&scheme) => Ok(Self::Http(url.to_owned())),
                    Some(_) => Ok(Self::Redis(url.to_owned())),
                }
            }
            _ => wrong(&format!("{:?} is of no known kind", without_password(url))),
        }
    }

    /// Opens it, and makes the file if there is none.
    ///
    /// # Errors
    /// What the back end says when it cannot be opened.
    pub async fn open(&self, options: &StoreOptions) -> Result<Opened> {
        let here = |ports| Opened { ports, clock: Arc::new(SystemClock) };
        match self {
            Self::Memory => Ok(here(Memory::new().ports())),
            Self::Sqlite(path) => {
                let path = path.clone();
                let opening =
                    tokio::task::spawn_blocking(move || SqliteStore::open(&path, SqliteOptions::new()));
                let opened =
                    opening.await.map_err(|error| Error::backend_from("opening the store", error))?;
                Ok(here(opened?.ports()))
            }
            Self::Redis(url) => {
                let store = RedisStore::connect(url, options.redis.clone()).await?;
                Ok(Opened { ports: store.ports(), clock: store.clock().await? })
            }
            Self::Http(url) => {
                let client = Client::builder(url);
                let client = match &options.token {
                    Some(token) => client.token(token),
                    None => client,
                };
                let ports = remote_ports(client.build()?);
                // A server that is away or does not know us is told now, and not by everything later.
                ports.events.last().await?;
                Ok(here(rpc::remote(Arc::new(Tenant(ports)))))
            }
        }
    }

    /// Takes the lock of its one server; what cannot be shared between processes has none.
    ///
    /// # Errors
    /// `Unavailable` while another server holds it.
    pub fn lock(&self) -> Result<Option<ServeLock>> {
        match self {
            Self::Memory | Self::Redis(_) | Self::Http(_) => Ok(None),
            Self::Sqlite(path) => ServeLock::acquire(path).map(Some),
        }
    }
}

impl FromStr for StoreUrl {
    type Err = Error;

    /// As [`StoreUrl::parse_for`] the setting `store`.
    fn from_str(url: &str) -> Result<Self> {
        Self::parse_for("store", url)
    }
}

/// A password is masked.
impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory:"),
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Redis(url) | Self::Http(url) => f.write_str(&without_password(url)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_back_ends() {
        let url = |text: &str| text.parse::<StoreUrl>();
        assert_eq!(url("memory:").unwrap(), StoreUrl::Memory);
        for (text, path) in [("sqlite:a.db", "a.db"), ("sqlite:/a/b", "/a/b"), ("sqlite:///a", "/a")] {
            assert_eq!(url(text).unwrap(), StoreUrl::Sqlite(path.into()), "{text}");
        }
        for text in ["redis://h:1/0", "redis-cluster://h:1?node=i:2", "redis-sentinel://h:1"] {
            assert_eq!(url(text).unwrap(), StoreUrl::Redis(text.to_owned()));
        }
        for text in ["http://h:1", "https://h/agentic"] {
            assert_eq!(url(text).unwrap(), StoreUrl::Http(text.to_owned()));
        }
    }

    #[test]
    fn others_are_refused_with_the_known_ones() {
        for (text, why) in [
            ("redis:h:1", "names no host"),
            ("rediss://", "names no host"),
            ("http://", "names no host"),
            ("postgres://h", "no known kind"),
            ("memory", "no known kind"),
            ("memory:x", "no known kind"),
            ("", "no known kind"),
            ("sqlite:", "names no file"),
            ("sqlite::memory:", "forget"),
        ] {
            let error = text.parse::<StoreUrl>().unwrap_err().to_string();
            assert!(
                error.contains(why) && error.contains(KNOWN) && error.contains(REMOTE),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn only_the_store_may_be_another_servers() {
        let apart = |url: &str| StoreUrl::parse_for("registry", url);
        assert_eq!(apart("memory:").unwrap(), StoreUrl::Memory);
        let error = apart("http://ada:secret@h").unwrap_err().to_string();
        assert!(error.starts_with("registry: ") && error.contains(KNOWN), "{error}");
        assert!(!error.contains(REMOTE) && !error.contains("secret"), "{error}");
    }
}
