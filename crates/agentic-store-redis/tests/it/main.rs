//! The Redis back end, held to the contracts of the ports and to its own promises.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bounds;
mod cluster;
mod conformance;
mod costs;
mod faults;
mod heartbeats;
mod keys;
mod lockstep;
mod promises;
mod server;
