//! The factory of back ends: a URL in, every port out.

use std::{fmt, path::PathBuf, str::FromStr};

use agentic_core::{
    error::{Error, Result},
    memory::Memory,
    port::Ports,
};
use agentic_store_sqlite::{ServeLock, SqliteOptions, SqliteStore};

/// The URLs that are understood, for error messages.
const KNOWN: &str = "memory:, sqlite:PATH";

/// A back end, by its URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// `memory:`: nothing survives the process.
    Memory,
    /// `sqlite:PATH`: one file.
    Sqlite(PathBuf),
}

impl StoreUrl {
    /// Opens it, and makes the file if there is none. It blocks on the disk.
    ///
    /// # Errors
    /// What the back end says when it cannot be opened.
    pub fn open(&self) -> Result<Ports> {
        match self {
            Self::Memory => Ok(Memory::new().ports()),
            Self::Sqlite(path) => Ok(SqliteStore::open(path, SqliteOptions::new())?.ports()),
        }
    }

    /// Takes the lock of its one server; what cannot be shared between processes has none.
    ///
    /// # Errors
    /// `Unavailable` while another server holds it.
    pub fn lock(&self) -> Result<Option<ServeLock>> {
        match self {
            Self::Memory => Ok(None),
            Self::Sqlite(path) => ServeLock::acquire(path).map(Some),
        }
    }
}

impl FromStr for StoreUrl {
    type Err = Error;

    /// # Errors
    /// `Invalid` for a URL of no known kind, naming the known ones, and for `redis://…`, which is not built in.
    fn from_str(url: &str) -> Result<Self> {
        let wrong = |why: &str| Err(Error::invalid("store", format!("{why}; the stores are {KNOWN}")));
        match url.split_once(':') {
            Some(("memory", "")) => Ok(Self::Memory),
            Some(("sqlite", ":memory:")) => wrong("sqlite::memory: would forget everything"),
            Some(("sqlite", path)) => match path.strip_prefix("//").unwrap_or(path) {
                "" => wrong("sqlite: names no file"),
                path => Ok(Self::Sqlite(path.into())),
            },
            Some(("redis" | "rediss" | "redis-cluster" | "redis-sentinel", _)) => {
                wrong("redis is not built into this program")
            }
            _ => wrong(&format!("{url:?} is of no known kind")),
        }
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory:"),
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
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
    }

    #[test]
    fn others_are_refused_with_the_known_ones() {
        for (text, why) in [
            ("redis://h:1", "not built"),
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
