//! The factory of back ends: a URL in, every port out.

use std::{fmt, path::PathBuf, str::FromStr};

use agentic_core::{
    error::{Error, Result},
    memory::Memory,
    port::Ports,
};
use agentic_store_redis::{RedisOptions, RedisStore};
use agentic_store_sqlite::{ServeLock, SqliteOptions, SqliteStore};

use crate::config::MASK;

/// The URLs that are understood, for error messages.
const KNOWN: &str = "memory:, sqlite:PATH, redis://HOST";
/// What the URL of a Redis begins with.
const REDIS: [&str; 6] =
    ["redis", "rediss", "redis-cluster", "rediss-cluster", "redis-sentinel", "rediss-sentinel"];

/// A back end, by its URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// `memory:`: nothing survives the process.
    Memory,
    /// `sqlite:PATH`: one file.
    Sqlite(PathBuf),
    /// `redis://…` and its kin, as [`RedisStore::connect`] takes them: shared by any number of servers.
    Redis(String),
}

impl StoreUrl {
    /// Opens it, and makes the file if there is none. `redis` is for a Redis alone.
    ///
    /// # Errors
    /// What the back end says when it cannot be opened.
    pub async fn open(&self, redis: &RedisOptions) -> Result<Ports> {
        match self {
            Self::Memory => Ok(Memory::new().ports()),
            Self::Sqlite(path) => {
                let path = path.clone();
                let opening =
                    tokio::task::spawn_blocking(move || SqliteStore::open(&path, SqliteOptions::new()));
                let opened =
                    opening.await.map_err(|error| Error::backend_from("opening the store", error))?;
                Ok(opened?.ports())
            }
            Self::Redis(url) => Ok(RedisStore::connect(url, redis.clone()).await?.ports()),
        }
    }

    /// Takes the lock of its one server; what cannot be shared between processes has none.
    ///
    /// # Errors
    /// `Unavailable` while another server holds it.
    pub fn lock(&self) -> Result<Option<ServeLock>> {
        match self {
            Self::Memory | Self::Redis(_) => Ok(None),
            Self::Sqlite(path) => ServeLock::acquire(path).map(Some),
        }
    }
}

impl FromStr for StoreUrl {
    type Err = Error;

    /// # Errors
    /// `Invalid` for a URL of no known kind, naming the known ones.
    fn from_str(url: &str) -> Result<Self> {
        let wrong = |why: &str| Err(Error::invalid("store", format!("{why}; the stores are {KNOWN}")));
        match url.split_once(':') {
            Some(("memory", "")) => Ok(Self::Memory),
            Some(("sqlite", ":memory:")) => wrong("sqlite::memory: would forget everything"),
            Some(("sqlite", path)) => match path.strip_prefix("//").unwrap_or(path) {
                "" => wrong("sqlite: names no file"),
                path => Ok(Self::Sqlite(path.into())),
            },
            Some((scheme, rest)) if REDIS.contains(&scheme) => match rest.strip_prefix("//") {
                None | Some("") => wrong(&format!("{scheme}: names no host")),
                Some(_) => Ok(Self::Redis(url.to_owned())),
            },
            _ => wrong(&format!("{url:?} is of no known kind")),
        }
    }
}

/// A password is masked.
impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory:"),
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Redis(url) => f.write_str(&without_password(url)),
        }
    }
}

/// A URL whose password, if it has one, is masked.
pub(crate) fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find('/').unwrap_or(rest.len());
    match rest[..end].rsplit_once('@') {
        Some((user, host)) => {
            let name = user.split(':').next().unwrap_or_default();
            format!("{scheme}://{name}:{MASK}@{host}{}", &rest[end..])
        }
        None => url.to_owned(),
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
    }

    #[test]
    fn a_password_is_never_shown() {
        for (text, shown) in [
            ("redis://ada:secret@h:1/0", format!("redis://ada:{MASK}@h:1/0")),
            ("redis://:se@cret@h:1", format!("redis://:{MASK}@h:1")),
            ("redis://h:1", "redis://h:1".to_owned()),
            ("sqlite:/a@b", "sqlite:/a@b".to_owned()),
        ] {
            assert_eq!(text.parse::<StoreUrl>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn others_are_refused_with_the_known_ones() {
        for (text, why) in [
            ("redis:h:1", "names no host"),
            ("rediss://", "names no host"),
            ("postgres://h", "no known kind"),
            ("memory", "no known kind"),
            ("memory:x", "no known kind"),
            ("", "no known kind"),
            ("sqlite:", "names no file"),
            ("sqlite::memory:", "forget"),
        ] {
            let error = text.parse::<StoreUrl>().unwrap_err().to_string();
            assert!(error.contains(why) && error.contains(KNOWN), "{text}: {error}");
        }
    }
}
