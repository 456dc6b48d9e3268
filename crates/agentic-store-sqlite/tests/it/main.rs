//! The SQLite back end, held to the contracts of the ports and to its own promises.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod backup;
mod batches;
mod conformance;
mod lockstep;
mod opening;
mod sharing;
mod statements;
mod world;
