//! Attempts as they are stored.

use std::time::Duration;

use agentic_core::{
    attempt::{Attempt, AttemptOutcome},
    error::Result,
    id::JobId,
};

use crate::sql::{Cells, Columns, Lookup, Sql, Table};

/// Reads attempts `a`; the rest of the statement says which.
macro_rules! select_attempt {
    ($rest:literal) => {
        concat!(
            "SELECT a.task_id, a.attempt, a.agent_id, a.incarnation, a.claimed_at, a.lease_ms, a.deadline,
                a.started_at, a.ended_at, a.outcome, a.digest, a.late_digest ",
            $rest
        )
    };
}

pub(crate) const ATTEMPT: &str = select_attempt!("FROM attempts a WHERE a.task_id = ?1 AND a.attempt = ?2");

pub(crate) static ATTEMPTS_OF: Lookup = Lookup::new(
    select_attempt!("FROM k CROSS JOIN attempts a ON a.task_id = k.column1 AND a.attempt = k.column2"),
    2,
);

static ATTEMPTS: Table = Table::new(
    "attempts (task_id, attempt, agent_id, incarnation, claimed_at, lease_ms, deadline, started_at, ended_at,
        outcome, digest, late_digest)",
    12,
    "",
);

/// Its parameters are the columns of [`ATTEMPTS`]; what never changes is left out.
pub(crate) const UPDATE_ATTEMPT: &str = "UPDATE OR ROLLBACK attempts SET agent_id = ?3, incarnation = ?4,
    claimed_at = ?5, lease_ms = ?6, deadline = ?7, started_at = ?8, ended_at = ?9, outcome = ?10, digest = ?11,
    late_digest = ?12 WHERE task_id = ?1 AND attempt = ?2";

/// Reads the columns of `select_attempt`.
pub(crate) fn read(columns: &mut Columns<'_>) -> Result<Attempt> {
    Ok(Attempt {
        id: JobId::new(columns.parse()?, columns.get()?),
        agent_id: columns.parse()?,
        incarnation: columns.unsigned()?,
        claimed_at: columns.at()?,
        lease: Duration::from_millis(columns.unsigned()?),
        deadline: columns.at_opt()?,
        started_at: columns.at_opt()?,
        ended_at: columns.at_opt()?,
        outcome: columns.named_opt()?,
        digest: columns.get()?,
        late_digest: columns.get()?,
    })
}

/// Writes attempts over what stands there.
pub(crate) fn write<'a>(
    sql: Sql<'_>,
    changes: impl Iterator<Item = (Option<&'a Attempt>, &'a Attempt)>,
) -> Result<()> {
    let mut fresh = Cells::default();
    let mut cells = Cells::with_room(ATTEMPTS.columns());
    for (before, attempt) in changes {
        if before.is_none() {
            put(&mut fresh, attempt);
        } else {
            cells.clear();
            put(&mut cells, attempt);
            sql.execute(UPDATE_ATTEMPT, cells.params())?;
        }
    }
    sql.insert(&ATTEMPTS, &fresh)
}

fn put<'a>(cells: &mut Cells<'a>, attempt: &'a Attempt) {
    cells
        .text(attempt.id.task.as_str())
        .int(attempt.id.attempt)
        .text(attempt.agent_id.as_str())
        .int_cut(attempt.incarnation)
        .at(attempt.claimed_at)
        .int_cut(attempt.lease.as_millis())
        .at_opt(attempt.deadline)
        .at_opt(attempt.started_at)
        .at_opt(attempt.ended_at)
        .name_opt(attempt.outcome.map(AttemptOutcome::as_str))
        .text_opt(attempt.digest.as_ref())
        .text_opt(attempt.late_digest.as_ref());
}
