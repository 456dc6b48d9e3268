//! How a store is opened.

use std::time::Duration;

/// What to do about a server that may lose or evict what was acknowledged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Safety {
    /// Refuse to start.
    #[default]
    Refuse,
    /// Say so in the log, and go on.
    Warn,
}

/// How a store is opened; every setter names its default.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct RedisOptions {
    pub(crate) prefix: String,
    pub(crate) pool: usize,
    pub(crate) connect_timeout: Duration,
    pub(crate) command_timeout: Duration,
    pub(crate) heartbeat: Duration,
    pub(crate) safety: Safety,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            prefix: Self::PREFIX.to_owned(),
            pool: Self::POOL,
            connect_timeout: Self::CONNECT_TIMEOUT,
            command_timeout: Self::COMMAND_TIMEOUT,
            heartbeat: Duration::from_secs(10),
            safety: Safety::Refuse,
        }
    }
}

impl RedisOptions {
    /// The default of [`RedisOptions::prefix`].
    pub const PREFIX: &str = "agentic";

    /// The default of [`RedisOptions::pool`].
    pub const POOL: usize = 4;

    /// The default of [`RedisOptions::connect_timeout`].
    pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

    /// The default of [`RedisOptions::command_timeout`].
    pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(5);

    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// What stands in front of every key, 1–100 of `[A-Za-z0-9._:-]`, as a whole in braces or not; default `agentic`. A
    /// fleet is a prefix. On a cluster it is a hash tag: one without braces gets them.
    pub fn prefix(self, prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), ..self }
    }

    /// How many connections share the commands. At least 1, default 4.
    pub fn pool(self, pool: usize) -> Self {
        Self { pool: pool.max(1), ..self }
    }

    /// How long to wait for a connection; default 5 s.
    pub fn connect_timeout(self, connect_timeout: Duration) -> Self {
        Self { connect_timeout, ..self }
    }

    /// How long to wait for an answer before a call is `Unavailable`; it may have been done all the same. Default 5 s.
    pub fn command_timeout(self, command_timeout: Duration) -> Self {
        Self { command_timeout, ..self }
    }

    /// How often agents send a heartbeat: the key that is an agent's sign of life lasts three of them. It only tells
    /// people; whether an agent is silent is decided by the time in its record. Default 10 s.
    pub fn heartbeat(self, heartbeat: Duration) -> Self {
        Self { heartbeat, ..self }
    }

    /// What to do about a server older than 6.2, one that evicts keys, or one that writes nothing to disk; default
    /// [`Safety::Refuse`].
    pub fn safety(self, safety: Safety) -> Self {
        Self { safety, ..self }
    }
}
