//! Runs agents: each attempt of a task as a process group of its own, metered while it runs.
//!
//! A [`Worker`] registers one agent with a server (its [`Api`]), takes the attempts that are assigned to it, and runs a
//! command for each. It never runs one without a lease: the server's word, the lease's end or the worker's own end
//! ends the whole tree (SIGTERM, grace, SIGKILL). A worker that is told to drain gives back what it cannot finish.
//!
//! What the command is given (design §11): the task as JSON on its standard input and in `AGENTIC_TASK_FILE`;
//! `AGENTIC_TASK_ID`, `AGENTIC_TASK_TITLE`, `AGENTIC_ATTEMPT`, `AGENTIC_AGENT_ID` and `AGENTIC_BASE_URL`;
//! `AGENTIC_REPORT_FILE`, to which it may append JSON lines (see [`report`]); and `AGENTIC_CONTROL_FILE`, which it may watch.
//! Exit 0 completes the task with the tail of its standard output; any other exit fails the attempt with the tail of its
//! standard error.
//!
//! The control file holds one JSON object on one line, such as `{"directive":"wrap_up","reason":"90 used of 100: agent:a
//! tokens day","remaining_tokens":10}`. It is there from the start, and is replaced as a whole (by a rename) whenever
//! something in it changes:
//!
//! - `directive`: `continue`; `wrap_up` from 90 % of a token or cost limit on, when the command does well to save what it
//!   has and end by itself; `stop` when its tree is being ended, for whatever reason. It never goes back.
//! - `reason`: why, unless it is to go on; in the server's words, or absent.
//! - `remaining_tokens`: what is left under the tightest limit, as of the last heartbeat or report; absent = unlimited,
//!   not known yet, or with a `stop`.
//!
//! Everything that a command starts in its process group dies with the attempt. A process that leaves the group on
//! purpose (`setsid`) is out of reach.
//!
//! ```
//! use agentic_core::agent::AgentSpec;
//! use agentic_worker::WorkerConfig;
//!
//! let spec = AgentSpec { max_load: 2, ..AgentSpec::new("coder-1".parse()?) };
//! let config = WorkerConfig::new(spec, ["make", "work"], "http://localhost:8080");
//! assert_eq!(config.heartbeat.as_secs(), 10);
//! # Ok::<(), agentic_core::error::Error>(())
//! ```
mod api;
mod attempt;
mod config;
mod files;
pub mod guard;
mod order;
mod process;
mod relay;
pub mod report;
mod tail;
mod worker;

pub use api::Api;
pub use attempt::Outcome;
pub use config::WorkerConfig;
pub use worker::{Worker, WorkerError, WorkerReport};
