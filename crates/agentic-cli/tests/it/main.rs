//! The binary and what it is made of, as its users meet them.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod apart;
mod budgets;
mod crash;
mod demo;
mod failures;
mod help;
mod hostile;
mod life;
mod limits;
mod pairs;
mod sandbox;
mod serving;
mod settings;
mod swarm;
mod tasks;
