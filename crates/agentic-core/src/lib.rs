//! Types, rules, ports and the memory back end of agentic.
//!
//! `agentic` hands development tasks to a fleet of AI agents and keeps them inside their budgets. This crate is what
//! everything else stands on, and it drags in no database, no HTTP and no Redis: types with their bounds
//! ([`task`], [`agent`], [`allowance`]), rules as pure functions ([`machine`], [`limit`], [`job`], [`backoff`]), the
//! [`port`]s that a back end implements, and one that holds everything in [`memory`].
//!
//! ```
//! use agentic_core::{clock::Timestamp, memory::Memory, port::CreateMany, task::NewTask};
//!
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! let fleet = Memory::new().ports();
//! let task = NewTask::new("t-1".parse()?, "write the changelog");
//! let now = Timestamp::EPOCH;
//! let created = fleet.tasks.create_many(CreateMany::new(vec![task], now)).await?;
//! assert_eq!(created[0].task.status.as_str(), "pending");
//! # Ok::<(), agentic_core::error::Error>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
pub mod agent;
pub mod allowance;
pub mod amount;
pub mod api;
pub mod attempt;
pub mod backoff;
pub mod budget;
pub mod clock;
pub mod decimal;
mod digest;
pub mod engine;
pub mod error;
pub mod event;
pub mod explain;
pub mod id;
pub mod job;
pub mod lane;
pub mod limit;
pub mod machine;
pub mod memory;
pub mod port;
pub mod price;
pub mod rpc;
pub mod status;
pub mod task;
pub mod text;
pub mod usage;
mod window;
