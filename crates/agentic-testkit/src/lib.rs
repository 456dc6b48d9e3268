//! The conformance suite, the random-operation model, fault injection and fake agents of agentic.
//!
//! A back end proves that it holds the contracts of [`agentic_core::port`] by running every case of [`cases`]: it
//! says how to build a [`Fixture`], and [`conformance!`] makes one test of each case.
//!
//! ```
//! use agentic_core::memory::Memory;
//! use agentic_testkit::Fixture;
//!
//! async fn fixture() -> Fixture {
//!     Fixture::new(Memory::new().ports())
//! }
//!
//! agentic_testkit::conformance!(fixture);
//! # fn main() {}
//! ```
//!
//! [`lockstep`] holds two back ends against each other by random operations; [`faults`], [`counting`] and
//! [`fake_agent`] are for scenarios above the ports.
//!
//! The crate is for tests: a case fails by panicking.
pub mod cases;
pub mod counting;
pub mod expect;
pub mod fake_agent;
pub mod faults;
pub mod fixture;
pub mod given;
pub mod invariants;
pub mod lockstep;
pub mod port;
pub mod redis;
mod registry;

pub use fixture::Fixture;
pub use registry::CASES;
