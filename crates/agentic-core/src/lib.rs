//! Types, rules, ports and the memory back end of agentic.
//!
//! `agentic` hands development tasks to a fleet of AI agents and keeps them inside their budgets. This crate is what
//! everything else stands on, and it drags in no database, no HTTP and no Redis.
pub mod agent;
pub mod allowance;
pub mod amount;
pub mod attempt;
pub mod backoff;
pub mod clock;
mod digest;
pub mod engine;
pub mod error;
pub mod event;
pub mod id;
pub mod job;
pub mod lane;
pub mod limit;
pub mod machine;
pub mod port;
pub mod task;
pub mod usage;
