//! The rows of one transaction: what the engine reads and writes, kept until they are written together.

pub(crate) mod agent;
pub(crate) mod attempt;
pub(crate) mod fold;
pub(crate) mod held;
pub(crate) mod job;
pub(crate) mod limits;
pub(crate) mod log;
pub(crate) mod meter;
pub(crate) mod park;
pub(crate) mod task;
pub(crate) mod transaction;

pub(crate) use transaction::SqliteRows;
