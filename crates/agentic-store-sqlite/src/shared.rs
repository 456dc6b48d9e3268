//! What the handles of a store, its writer and its readers share.

use std::{path::PathBuf, sync::atomic::AtomicU64};

use agentic_core::event::EventId;
use tokio::sync::{Semaphore, watch};

use crate::{options::SqliteOptions, sql::Counter};

/// What the handles of a store, its writer and its readers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) path: PathBuf,
    pub(crate) options: SqliteOptions,
    /// Statements that the writer ran.
    pub(crate) statements: Counter,
    /// Statements that the readers ran.
    pub(crate) read_statements: Counter,
    /// Commands that the writer ran, again after a rollback too.
    pub(crate) commands: AtomicU64,
    /// Transactions that the writer ran.
    pub(crate) batches: AtomicU64,
    /// The number of the newest event that anybody here knows of.
    pub(crate) newest: watch::Sender<EventId>,
    /// Held by the one waiter that looks for events of other processes.
    pub(crate) lookout: Semaphore,
}

impl Shared {
    pub(crate) fn new(path: PathBuf, options: SqliteOptions, newest: EventId) -> Self {
        Self {
            path,
            statements: Counter::new(options.before_statement),
            read_statements: Counter::default(),
            options,
            commands: AtomicU64::new(0),
            batches: AtomicU64::new(0),
            newest: watch::Sender::new(newest),
            lookout: Semaphore::new(1),
        }
    }

    /// Tells who waits that the log has grown.
    pub(crate) fn saw_event(&self, last: EventId) {
        self.newest.send_if_modified(|newest| {
            let grown = last > *newest;
            *newest = last.max(*newest);
            grown
        });
    }
}
