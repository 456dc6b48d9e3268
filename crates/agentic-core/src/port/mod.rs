//! The ports: narrow driver traits, used as `Arc<dyn …>`.
//!
//! One method is one atomic transition or one consistent read. Drivers take plain data and the time as an argument,
//! hold no policy, and have no default bodies; what is convenient lives in the services over them. Every contract
//! below is held by the conformance suite of `agentic-testkit`, whose cases carry the names given in the docs.

mod agents;
mod allowances;
mod events;
mod ledger;
mod settings;
mod tasks;

use std::sync::Arc;

pub use agents::{AgentRegistry, Heartbeat, Reap, Register, SetDraining};
pub use allowances::{
    Admission, AllowanceStore, Difference, EntryPage, ExpiredJobs, Extend, ReadEntries, Replan, Report,
    ResetUsage, SetBudget, Settle, StartJob, VoidJob,
};
pub use events::{Append, EventLog, EventPage, Mark};
pub use ledger::{
    Assign, Assigned, Beat, BeatAnswer, BeatAttempt, Finish, Finished, Heard, Ledger, StartAttempt,
};
pub use settings::Settings;
pub use tasks::{
    Block, CancelTask, Claim, CreateMany, Created, Defer, Edit, EndAttempt, Lanes, ParkLane, Progress, Renew,
    TaskStore, Unpark, Wake,
};

/// Every port of one fleet; clones share them.
#[derive(Debug, Clone)]
pub struct Ports {
    /// Tasks.
    pub tasks: Arc<dyn TaskStore>,
    /// Agents.
    pub agents: Arc<dyn AgentRegistry>,
    /// Limits, meters and reservations.
    pub allowances: Arc<dyn AllowanceStore>,
    /// What happened.
    pub events: Arc<dyn EventLog>,
    /// Tokens, pause, the times of sweeps.
    pub settings: Arc<dyn Settings>,
    /// The transitions that touch a task and its allowance together.
    pub ledger: Arc<dyn Ledger>,
}
