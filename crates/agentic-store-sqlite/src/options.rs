//! How a store is opened.

use std::time::Duration;

/// When SQLite waits for the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Synchronous {
    /// Before every answer: what was acknowledged survives a loss of power.
    #[default]
    Full,
    /// Only at checkpoints: survives the end of the process, but a loss of power may take the latest answers back.
    Normal,
}

impl Synchronous {
    /// The number that the pragma reads back as.
    pub(crate) const fn level(self) -> i64 {
        match self {
            Self::Normal => 1,
            Self::Full => 2,
        }
    }
}

/// How a store is opened; every setter names its default.
#[derive(Debug, Clone)]
#[must_use]
pub struct SqliteOptions {
    pub(crate) synchronous: Synchronous,
    pub(crate) queue: usize,
    pub(crate) max_batch: usize,
    pub(crate) readers: usize,
    pub(crate) busy_timeout: Duration,
    pub(crate) before_statement: Option<fn(u64)>,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            synchronous: Synchronous::Full,
            queue: 4_096,
            max_batch: 256,
            readers: 4,
            busy_timeout: Duration::from_secs(5),
            before_statement: None,
        }
    }
}

impl SqliteOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// When SQLite waits for the disk; default [`Synchronous::Full`].
    pub fn synchronous(self, synchronous: Synchronous) -> Self {
        Self { synchronous, ..self }
    }

    /// How many calls may wait for the writer, and as many for the readers; one more is `Unavailable`. At least 1,
    /// default 4,096.
    pub fn queue(self, queue: usize) -> Self {
        Self { queue: queue.max(1), ..self }
    }

    /// The most commands that one transaction takes. At least 1, default 256.
    pub fn max_batch(self, max_batch: usize) -> Self {
        Self { max_batch: max_batch.max(1), ..self }
    }

    /// How many connections read beside the writer. At least 1, default 4.
    pub fn readers(self, readers: usize) -> Self {
        Self { readers: readers.max(1), ..self }
    }

    /// How long to wait for another process that writes to the same file before the call is `Unavailable`; default
    /// 5 s.
    pub fn busy_timeout(self, busy_timeout: Duration) -> Self {
        Self { busy_timeout, ..self }
    }

    /// What hears the number of each statement of the writer, from 1 on, before it is run: a failpoint for crash tests.
    /// None by default.
    pub fn before_statement(self, hook: fn(u64)) -> Self {
        Self { before_statement: Some(hook), ..self }
    }
}
