//! What each command does.

mod agents;
mod allowance;
mod backup;
mod batch;
mod budget;
mod config;
mod edit;
mod explain;
mod fleet;
mod ledger;
mod list;
mod logs;
mod model;
mod prices;
mod serve;
mod show;
mod submit;
mod up;
mod worker;

pub(crate) use agents::agents;
pub(crate) use allowance::allowance;
pub(crate) use backup::backup;
pub(crate) use budget::budget;
pub(crate) use config::config_show;
pub(crate) use edit::{cancel, edit, requeue};
pub(crate) use explain::{explain, lanes};
pub(crate) use fleet::status;
pub(crate) use ledger::ledger;
pub(crate) use list::list;
pub(crate) use logs::logs;
pub(crate) use model::model;
pub(crate) use serve::serve;
pub(crate) use show::show;
pub(crate) use submit::submit;
pub(crate) use up::up;
pub(crate) use worker::worker;
