//! `agentic demo`: everything in under a minute.
//!
//! A server on a fresh SQLite file, four agents that are processes of their own, thirty tasks. Attempts fail and are
//! retried, one task is given up, one agent is killed while it works, one runs out of tokens. Then the outcome is
//! read back, through the API and from the file, and held against what has to be true.

pub(crate) mod agent;
mod checks;
mod crew;
mod evidence;
mod place;
mod plan;
mod run;
mod story;

pub(crate) use run::run;
