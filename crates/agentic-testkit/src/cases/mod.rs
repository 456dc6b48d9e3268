//! The contracts of the ports, one case a rule, in files by topic.
//!
//! A case gets a world of its own, and panics when the rule is broken. [`crate::registry!`] lists them all.
#![expect(clippy::missing_panics_doc, clippy::unwrap_used, reason = "a case fails by panicking")]

pub mod admission;
pub mod agents;
pub mod assign;
pub mod beat;
pub mod blocking;
pub mod claim;
pub mod create;
pub mod dependencies;
pub mod edit;
pub mod events;
pub mod fence;
pub mod finish;
pub mod history;
pub mod lanes;
pub mod ledger;
pub mod limits;
pub mod metering;
pub mod parking;
pub mod prune;
pub mod reads;
pub mod retry;
pub mod settings;
pub mod settlement;
pub mod windows;
