//! The handlers, by topic.

pub(crate) mod agents;
pub(crate) mod allowances;
pub(crate) mod budgets;
pub(crate) mod events;
pub(crate) mod health;
pub(crate) mod internal;
pub(crate) mod ledger;
pub(crate) mod models;
pub(crate) mod overview;
pub(crate) mod tasks;
