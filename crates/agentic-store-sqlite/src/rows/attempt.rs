//! Attempts as they are stored.

use std::time::Duration;

use agentic_core::{attempt::Attempt, error::Result, id::JobId};

use crate::sql::{Cells, Columns, Sql, Table};

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

static ATTEMPTS: Table = Table::new(
    "attempts (task_id, attempt, agent_id, incarnation, claimed_at, lease_ms, deadline, started_at, ended_at,
        outcome, digest, late_digest)",
    12,
    "ON CONFLICT (task_id, attempt) DO UPDATE SET started_at = excluded.started_at,
        ended_at = excluded.ended_at, outcome = excluded.outcome, digest = excluded.digest,
        late_digest = excluded.late_digest",
);

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

/// Writes attempts, new or changed.
pub(crate) fn write<'a>(sql: Sql<'_>, attempts: impl Iterator<Item = &'a Attempt>) -> Result<()> {
    let mut cells = Cells::default();
    for attempt in attempts {
        cells
            .text(attempt.id.task.as_str())
            .int(attempt.id.attempt)
            .text(attempt.agent_id.as_str())
            .int_cut(attempt.incarnation)
            .at(attempt.claimed_at)
            .int_cut(attempt.lease.as_millis())
            .at_opt(attempt.deadline)
            .at_opt(attempt.started_at)
            .at_opt(attempt.ended_at);
        match attempt.outcome {
            Some(outcome) => cells.text(outcome.as_str()),
            None => cells.null(),
        };
        cells.text_opt(attempt.digest.as_ref()).text_opt(attempt.late_digest.as_ref());
    }
    sql.write(&ATTEMPTS, &cells)
}
