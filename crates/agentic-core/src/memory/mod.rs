//! The memory back end: the executable specification that the others agree with, operation by operation.
//!
//! Everything stands behind one mutex, so that every port is one atomic step. Nothing survives the process.

mod ports;
mod rows;
mod state;

pub use ports::Memory;
