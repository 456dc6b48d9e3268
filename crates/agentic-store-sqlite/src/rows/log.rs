//! What is only ever appended: events, and the entries of the ledger.

use agentic_core::{
    allowance::CostBasis,
    error::Result,
    event::{Event, EventId, NewEvent},
    job::{Entry, Move},
    limit::{Meter, MeterKey, Scope, Window},
};

use crate::{
    error::unreadable,
    sql::{Cells, Columns, Sql, Table},
};

/// Reads events; the rest of the statement says which.
macro_rules! select_event {
    ($rest:literal) => {
        concat!("SELECT id, type, task_id, agent_id, at, payload FROM events ", $rest)
    };
}

pub(crate) const EVENTS_AFTER: &str = select_event!("WHERE id > ?1 ORDER BY id LIMIT ?2");
pub(crate) const HISTORY: &str =
    select_event!("WHERE task_id = ?1 AND pruned = 0 AND id > ?2 ORDER BY id LIMIT ?3");
pub(crate) const LAST_EVENT: &str =
    "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0)";
pub(crate) const OLDEST_EVENTS: &str = "SELECT id, at FROM events ORDER BY id LIMIT ?1";
pub(crate) const ENTRIES_OF: &str =
    "SELECT id, kind, at, job, agent_id, model, cost_source, moves FROM entries
    WHERE agent_id = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3";
pub(crate) const ALL_MOVES: &str = "SELECT moves FROM entries";

static EVENTS: Table = Table::new("events (type, task_id, agent_id, at, payload)", 5, "");
static ENTRIES: Table = Table::new("entries (kind, at, job, agent_id, model, cost_source, moves)", 7, "");

/// A movement as it is stored.
pub(crate) type MoveRecord = (Scope, Meter, Window, i64, i64);

/// Reads the columns of `select_event`.
pub(crate) fn read_event(columns: &mut Columns<'_>) -> Result<Event> {
    Ok(Event {
        id: columns.unsigned()?,
        kind: columns.parse()?,
        task_id: columns.parse_opt()?,
        agent_id: columns.parse_opt()?,
        timestamp: columns.at()?,
        payload: columns.json_opt()?,
    })
}

/// Appends events in order; answers with the number of the last one.
pub(crate) fn write_events(sql: Sql<'_>, events: &[NewEvent]) -> Result<EventId> {
    let mut cells = Cells::with_room(events.len() * EVENTS.columns());
    for event in events {
        cells
            .text(event.kind.as_str())
            .text_opt(event.task_id.as_ref())
            .text_opt(event.agent_id.as_ref())
            .at(event.timestamp)
            .json_opt(event.payload.as_ref())?;
    }
    sql.insert(&EVENTS, &cells)?;
    EventId::try_from(sql.last_key()).map_err(unreadable)
}

/// Appends entries in order.
pub(crate) fn write_entries(sql: Sql<'_>, entries: &[Entry]) -> Result<()> {
    let mut cells = Cells::with_room(entries.len() * ENTRIES.columns());
    for entry in entries {
        let record = |movement: &Move| -> MoveRecord {
            let MeterKey { scope, meter, window } = movement.key.clone();
            (scope, meter, window, movement.bucket, movement.delta)
        };
        let moves: Vec<MoveRecord> = entry.moves.iter().map(record).collect();
        cells.text(entry.kind.as_str()).at(entry.at);
        match &entry.job {
            Some(job) => cells.owned(job.to_string()),
            None => cells.null(),
        };
        let source = entry.cost_source.map(CostBasis::as_str);
        cells.text(entry.agent_id.as_str()).text_opt(entry.model.as_ref()).name_opt(source).json(&moves)?;
    }
    sql.insert(&ENTRIES, &cells)
}

/// Reads the columns of [`ENTRIES_OF`]: an entry with its number.
pub(crate) fn read_entry(columns: &mut Columns<'_>) -> Result<(i64, Entry)> {
    let number = columns.get()?;
    let entry = Entry {
        kind: columns.named()?,
        at: columns.at()?,
        job: columns.parse_opt()?,
        agent_id: columns.parse()?,
        model: columns.parse_opt()?,
        cost_source: columns.named_opt()?,
        moves: columns.json::<Vec<MoveRecord>>()?.into_iter().map(read_move).collect(),
    };
    Ok((number, entry))
}

/// Visits every movement that was ever booked and not folded.
pub(crate) fn each_move(sql: Sql<'_>, mut visit: impl FnMut(Move)) -> Result<()> {
    sql.all(ALL_MOVES, [], |columns| {
        columns.json::<Vec<MoveRecord>>()?.into_iter().map(read_move).for_each(&mut visit);
        Ok(())
    })?;
    Ok(())
}

/// A movement as it was booked.
pub(crate) fn read_move((scope, meter, window, bucket, delta): MoveRecord) -> Move {
    Move { key: MeterKey { scope, meter, window }, bucket, delta }
}
