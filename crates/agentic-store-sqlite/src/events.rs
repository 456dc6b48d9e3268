//! The port of the event log.

use std::time::Duration;

use agentic_core::{
    clock::Timestamp,
    engine::Rows,
    error::{ConflictCode, Error, Result},
    event::EventId,
    port::{Append, EventLog, EventPage},
};
use async_trait::async_trait;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::{
    rows::{SqliteRows, fold, job, log},
    settings,
    sql::{Cells, column, count},
    store::SqliteStore,
};

pub(crate) const TRIM: &str = "DELETE FROM events WHERE id <= ?1";
const TRIMMED: &str = "UPDATE counters SET value = ?1 WHERE name = 'trimmed'";

/// How often the one who looks out for the events of other processes looks, while somebody waits.
const LOOKOUT: Duration = Duration::from_millis(250);

/// The longest wait: an instant must not overflow.
const LONGEST: Duration = Duration::from_hours(24);

fn trim(rows: &mut SqliteRows<'_>, before: Timestamp, limit: usize) -> Result<usize> {
    rows.forget()?;
    let oldest = rows
        .sql
        .all(log::OLDEST_EVENTS, [count(limit)], |columns| Ok((columns.get::<i64>()?, columns.at()?)))?;
    let old: Vec<i64> = oldest.into_iter().take_while(|(_, at)| *at < before).map(|(id, _)| id).collect();
    if let Some(last) = old.last() {
        rows.wrote();
        rows.sql.execute(TRIM, [last])?;
        rows.sql.execute(TRIMMED, [last])?;
    }
    let folded = fold::fold(rows.sql, before, limit)?;
    let forgotten = job::forget(rows.sql, before, limit)?;
    Ok(old.len().max(folded).max(forgotten))
}

impl SqliteStore {
    async fn newest(&self) -> Result<EventId> {
        self.read(|rows| Ok(rows.sql.one(log::LAST_EVENT, [], column::unsigned)?.unwrap_or_default())).await
    }

    /// Reads the newest number now and then until `deadline`, and tells everybody who waits.
    async fn look_out(&self, cursor: EventId, deadline: Instant) -> Result<bool> {
        let mut newest = self.shared().newest.subscribe();
        loop {
            self.shared().saw_event(self.newest().await?);
            let next = deadline.min(Instant::now() + LOOKOUT);
            if timeout_at(next, newest.wait_for(|newest| *newest > cursor)).await.is_ok() {
                return Ok(true);
            }
            if next == deadline {
                return Ok(self.newest().await? > cursor);
            }
        }
    }
}

#[async_trait]
impl EventLog for SqliteStore {
    async fn append(&self, append: Append) -> Result<()> {
        self.write(move |rows| {
            if let Some(mark) = &append.mark {
                mark.check(settings::get(rows, &mark.key)?.as_deref())?;
                settings::put(rows, &mark.key, Some(&mark.to))?;
            }
            append.events.iter().try_for_each(|event| rows.append_event(event.clone()))
        })
        .await
    }

    async fn after(&self, cursor: EventId, limit: usize) -> Result<EventPage> {
        self.read(move |rows| {
            let trimmed = rows.counter("trimmed")?;
            if cursor < trimmed {
                let detail = format!("events up to {trimmed} were trimmed; start again from there");
                return Err(Error::conflict(ConflictCode::CursorTrimmed, detail));
            }
            let mut cells = Cells::default();
            cells.int_cut(cursor).int(count(limit));
            let events = rows.sql.all(log::EVENTS_AFTER, cells.params(), log::read_event)?;
            Ok(EventPage { cursor: events.last().map_or(cursor, |event| event.id), events })
        })
        .await
    }

    async fn last(&self) -> Result<EventId> {
        self.newest().await
    }

    /// Events of this process wake at once, those of other processes on the same file within a quarter of a second.
    async fn wait(&self, cursor: EventId, timeout: Duration) -> Result<bool> {
        let deadline = Instant::now() + timeout.min(LONGEST);
        let mut newest = self.shared().newest.subscribe();
        if *newest.borrow_and_update() > cursor {
            return Ok(true);
        }
        // However many wait, one of them looks, and wakes the others.
        let lookout = tokio::select! {
            seen = async { newest.wait_for(|newest| *newest > cursor).await.is_ok() } => return Ok(seen),
            lookout = self.shared().lookout.acquire() => lookout,
            () = sleep_until(deadline) => return Ok(false),
        };
        match lookout {
            Ok(_held) => self.look_out(cursor, deadline).await,
            Err(_) => Ok(false),
        }
    }

    /// Folds as much of the ledger, so that it grows no more than the log does.
    async fn trim(&self, before: Timestamp, limit: usize) -> Result<usize> {
        self.write(move |rows| trim(rows, before, limit)).await
    }
}
