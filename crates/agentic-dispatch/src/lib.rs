//! Policy of agentic: router, services, dispatcher, reaper and emitters over the ports.
//!
//! A [`Fleet`] bundles the ports of a back end with a [`Policy`] and a clock; its services validate, decide and call
//! the ports, once for all back ends.
//!
//! ```
//! use std::sync::Arc;
//!
//! use agentic_core::{agent::AgentSpec, api::CreateTask, clock::SystemClock, memory::Memory};
//! use agentic_dispatch::{DefaultAllowance, Fleet, LeastLoaded, Policy};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
//! let policy = Policy { default_allowance: Some(DefaultAllowance::default()), ..Policy::default() };
//! let fleet = Fleet::new(Memory::new().ports(), Arc::new(SystemClock), policy)?;
//! fleet.agents().register(AgentSpec::new("agent-1".parse()?)).await?;
//! let created = fleet.tasks().create(vec![CreateTask::new("write the changelog")], None).await?;
//! let agent = fleet.dispatcher(Arc::new(LeastLoaded)).dispatch(&created[0].task).await?;
//! assert_eq!(agent.as_str(), "agent-1");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
mod agents;
mod allowances;
mod budgets;
mod desk;
mod dispatcher;
mod emit;
mod explain;
mod fleet;
mod follow;
mod limits;
mod outbox;
mod policy;
mod pool;
mod prospects;
mod reaper;
mod router;
mod saga;
mod shadow;
mod skips;
mod status;
mod tasks;
mod windows;

pub use agents::{AgentService, MAX_WAIT};
pub use allowances::AllowanceService;
pub use dispatcher::{DispatchError, Dispatcher, Tick};
pub use emit::{ChannelEmitter, EmitError, EventEmitter, MultiEmitter, feed};
pub use fleet::Fleet;
pub use outbox::Outbox;
pub use policy::{DefaultAllowance, Policy, Undispatchable};
pub use reaper::{Reaper, Sweep};
pub use router::{LeastLoaded, Need, NoEligibleAgent, Router};
pub use saga::Saga;
pub use tasks::{Caller, TaskService};
