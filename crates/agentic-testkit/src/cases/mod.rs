//! The contracts of the ports, one case a rule, in files by topic.
//!
//! A case gets a world of its own, and panics when the rule is broken. [`crate::registry!`] lists them all.
#![expect(clippy::missing_panics_doc, clippy::unwrap_used, reason = "a case fails by panicking")]

pub mod claim;
pub mod create;
