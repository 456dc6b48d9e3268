//! The Redis that tests need: where it comes from, and how long it lives.

mod container;
mod install;
mod server;
mod source;

pub(crate) use install::ensure;
pub(crate) use source::{Redis, Source, Topology};
