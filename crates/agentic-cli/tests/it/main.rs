//! The binary and what it is made of, as its users meet them.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod apart;
mod budgets;
mod connecting;
mod crash;
mod demo;
mod failures;
mod fleet;
mod help;
mod hostile;
mod life;
mod limits;
mod outage;
mod pairs;
mod redis;
mod replay;
mod sandbox;
mod serving;
mod settings;
mod swarm;
mod tasks;
mod torture;
