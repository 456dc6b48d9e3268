//! Every port of agentic on one SQLite file.
//!
//! One thread writes: it takes the commands that wait, runs them with core's transitions in one transaction, commits
//! and answers, so that many small transitions share one wait for the disk. Some threads read beside it. Several
//! processes may use one file at a time; nothing that was read outlives its transaction.
//!
//! ```
//! use agentic_core::{clock::{Clock, SystemClock}, port::CreateMany, task::{NewTask, TaskStatus}};
//! use agentic_store_sqlite::{SqliteOptions, SqliteStore};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let dir = tempfile::tempdir()?;
//! let ports = SqliteStore::open(dir.path().join("agentic.db"), SqliteOptions::new())?.ports();
//! let (id, now) = ("write-docs".parse()?, SystemClock.now());
//! ports.tasks.create_many(CreateMany::new(vec![NewTask::new(id, "Write the docs")], now)).await?;
//! assert_eq!(ports.tasks.counts().await?[&TaskStatus::Pending], 1);
//! # Ok(())
//! # }
//! ```

mod agents;
mod allowances;
mod backup;
mod error;
mod events;
mod lanes;
mod ledger;
mod lock;
mod options;
mod readers;
mod rows;
mod schema;
mod settings;
mod shared;
mod sql;
mod store;
mod tasks;
mod writer;

#[cfg(test)]
mod plans;

pub use lock::ServeLock;
pub use options::{SqliteOptions, Synchronous};
pub use store::SqliteStore;
