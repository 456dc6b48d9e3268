//! The suite on the memory back end, and the tests of the suite itself.

mod decorated;
mod lockstep;
mod memory;
mod registry;
mod scenario;
