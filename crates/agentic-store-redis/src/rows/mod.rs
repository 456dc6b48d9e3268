//! What stands in hashes, as core knows it.

mod agent;
mod attempt;
mod event;
mod job;
mod limit;
mod snapshot;
mod task;

pub(crate) use agent::{agent_row, record_rest};
pub(crate) use attempt::attempt;
pub(crate) use event::{event, stream_id};
pub(crate) use job::{job, price_text};
pub(crate) use limit::{StoredLimit, limit, limit_field, stored_limits};
pub(crate) use snapshot::{Snapshot, refused};
pub(crate) use task::{new_cells, task_row, view};
