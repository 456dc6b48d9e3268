//! A real server on a loopback port, with the real client.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod agents;
mod allowances;
mod conformance;
mod crew;
mod errors;
mod events;
mod hostile;
mod internal;
mod shutdown;
mod tasks;
mod world;
