//! The lanes that have a ready task, and their heads.

use agentic_core::{
    error::Result,
    id::TaskId,
    lane::{Head, Lane, LaneView},
    port::Lanes,
    task::Priority,
};

use crate::{
    error::unreadable,
    rows::{SqliteRows, park},
    sql::{Columns, Sql, count},
};

/// Hops from one lane to the next through the index of ready tasks, and takes the first task of each, so that it
/// costs what the lanes cost, whatever stands behind their heads.
pub(crate) const LANES: &str = "WITH RECURSIVE lanes (lane) AS (
        SELECT (SELECT lane FROM tasks WHERE ready = 1 ORDER BY lane LIMIT 1)
        UNION ALL
        SELECT (SELECT t.lane FROM tasks t WHERE t.ready = 1 AND t.lane > lanes.lane ORDER BY t.lane LIMIT 1)
        FROM lanes WHERE lanes.lane IS NOT NULL
    ), heads (lane, seq) AS (
        SELECT lane, (
            SELECT h.seq FROM tasks h WHERE h.ready = 1 AND h.lane = lanes.lane
            ORDER BY h.priority, h.created_at, h.id LIMIT 1)
        FROM lanes WHERE lane IS NOT NULL
    )
    SELECT t.id, t.priority, t.created_at, t.attempt, t.estimated_tokens, heads.lane, p.code, p.detail,
        p.retry_at, p.scope, p.parked_at
    FROM heads CROSS JOIN tasks t ON t.seq = heads.seq LEFT JOIN parks p ON p.lane = heads.lane
    ORDER BY t.priority, t.created_at, t.id LIMIT ?1";
pub(crate) const READY: &str = "SELECT id, priority, created_at, attempt, estimated_tokens FROM tasks
    WHERE ready = 1 AND lane = ?1 ORDER BY priority, created_at, id LIMIT ?2";

/// Reads the lanes in the order of their heads.
pub(crate) fn read(rows: &mut SqliteRows<'_>, limit: usize) -> Result<Lanes> {
    let views = rows.sql.all(LANES, [count(limit)], |columns| {
        let head = read_head(columns)?;
        let lane = columns.parse()?;
        let (code, detail) = (columns.get::<Option<String>>()?, columns.get::<Option<String>>()?);
        let park =
            code.zip(detail).map(|(code, detail)| park::read_rest(columns, code, detail)).transpose()?;
        Ok(LaneView { lane, head, park })
    })?;
    Ok(Lanes { views, wake: rows.counter("wake")? })
}

/// Reads the first ready tasks of a lane.
pub(crate) fn ready(sql: Sql<'_>, lane: &Lane, limit: usize) -> Result<Vec<Head>> {
    sql.all(READY, (lane.to_string(), count(limit)), read_head)
}

fn read_head(columns: &mut Columns<'_>) -> Result<Head> {
    let id: TaskId = columns.parse()?;
    let rank = usize::try_from(columns.unsigned()?).map_err(unreadable)?;
    Ok(Head {
        id,
        priority: Priority::ALL.get(rank).copied().unwrap_or_default(),
        created_at: columns.at()?,
        attempt: columns.get()?,
        estimated_tokens: columns.amount()?,
    })
}
