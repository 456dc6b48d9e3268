//! Attempts.

use std::time::Duration;

use agentic_core::{attempt::Attempt, clock::Timestamp, error::Result, id::JobId};

use crate::reply::{Cells, misshapen};

/// An attempt from its cells.
pub(crate) fn attempt(id: JobId, cells: &Cells) -> Result<Attempt> {
    let lease: String = cells.must("lease")?;
    let (secs, nanos) = lease.split_once('.').ok_or_else(|| misshapen("a lease has no fraction"))?;
    let number = |_| misshapen("a lease is no number");
    Ok(Attempt {
        id,
        agent_id: cells.must("agent_id")?,
        incarnation: cells.must("incarnation")?,
        claimed_at: Timestamp::from_millis(cells.must("claimed_at")?),
        lease: Duration::new(secs.parse().map_err(number)?, nanos.parse().map_err(number)?),
        deadline: cells.time("deadline")?,
        started_at: cells.time("started_at")?,
        ended_at: cells.time("ended_at")?,
        outcome: cells.named("outcome")?,
        digest: cells.string("digest"),
        late_digest: cells.string("late_digest"),
    })
}
