//! Random operations on two back ends in lock step.
//!
//! Both get the same calls, made up from a seed and from what the left one answers to reads, and must give the same
//! answers; the left one's [`crate::invariants`] must hold after every step. A sequence on which they part is shrunk
//! to one from which no call can be left out, and told as calls that can be kept and [`replay`]ed.

mod attempts;
mod budgets;
mod calls;
mod check;
mod generate;
mod run;
mod tally;
mod tasks;

pub use run::{Divergence, Plan, SEED_VAR, STEPS_VAR, WORLDS_VAR, agrees_with_memory, lockstep, replay};
pub use tally::Tally;
