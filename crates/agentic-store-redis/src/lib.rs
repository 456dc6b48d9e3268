//! Every port of agentic on Redis.
//!
//! One fleet lives under one prefix, on a cluster in one slot, and each transition is one atomic script: the scripts in
//! `scripts/` decide on what stands in Redis now, as core's transitions do, and hold no policy. Any number of servers
//! and dispatchers share a fleet; an event that one of them makes wakes who waits on another.
//!
//! ```no_run
//! use agentic_core::{clock::{Clock, SystemClock}, port::CreateMany, task::{NewTask, TaskStatus}};
//! use agentic_store_redis::{RedisOptions, RedisStore};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let ports = RedisStore::connect("redis://127.0.0.1:6379/0", RedisOptions::new()).await?.ports();
//! let (id, now) = ("write-docs".parse()?, SystemClock.now());
//! ports.tasks.create_many(CreateMany::new(vec![NewTask::new(id, "Write the docs")], now)).await?;
//! assert_eq!(ports.tasks.counts().await?[&TaskStatus::Pending], 1);
//! # Ok(())
//! # }
//! ```

mod agents;
mod allowances;
mod args;
mod checks;
mod clock;
mod entries;
mod error;
mod events;
mod follower;
mod heartbeats;
mod lanes;
mod ledger;
mod options;
mod reply;
mod rows;
mod script;
mod settings;
mod store;
mod tasks;
mod trouble;
mod url;
mod verify;

pub use options::{RedisOptions, Safety};
pub use store::RedisStore;
