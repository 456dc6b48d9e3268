//! Parked lanes as they are stored.

use agentic_core::{
    error::Result,
    lane::{Lane, Park},
    port::Wake,
    task::PendingReason,
};

use crate::sql::{Cells, Columns, Sql, column};

pub(crate) const PARK: &str = "SELECT code, detail, retry_at, scope, parked_at FROM parks WHERE lane = ?1";
pub(crate) const PARKED_LANE: &str = "SELECT lane FROM parks WHERE lane = ?1 LIMIT ?2";
pub(crate) const PARKED_SCOPE: &str = "SELECT lane FROM parks WHERE scope = ?1 ORDER BY lane LIMIT ?2";
pub(crate) const PARKED_ALL: &str = "SELECT lane FROM parks ORDER BY lane LIMIT ?1";

const PUT_PARK: &str =
    "INSERT OR REPLACE INTO parks (lane, code, detail, retry_at, scope, parked_at) VALUES (?, ?, ?, ?, ?, ?)";
const DELETE_PARK: &str = "DELETE FROM parks WHERE lane = ?1";

/// Reads why a lane is parked.
pub(crate) fn read(sql: Sql<'_>, lane: &Lane) -> Result<Option<Park>> {
    sql.one(PARK, [lane.to_string()], |columns| {
        let (code, detail) = (columns.get()?, columns.get()?);
        read_rest(columns, code, detail)
    })
}

/// Reads the columns `retry_at`, `scope` and `parked_at`, after those of a reason.
pub(crate) fn read_rest(columns: &mut Columns<'_>, code: String, detail: String) -> Result<Park> {
    let reason = PendingReason { code, detail, retry_at: columns.at_opt()? };
    Ok(Park { reason, scope: columns.parse_opt()?, parked_at: columns.at()? })
}

/// Parks or, with `None`, wakes a lane.
pub(crate) fn put(sql: Sql<'_>, lane: &Lane, park: Option<&Park>) -> Result<()> {
    let Some(park) = park else {
        return sql.execute(DELETE_PARK, [lane.to_string()]).map(drop);
    };
    let mut cells = Cells::default();
    cells
        .owned(lane.to_string())
        .text(&park.reason.code)
        .text(&park.reason.detail)
        .at_opt(park.reason.retry_at);
    match &park.scope {
        Some(scope) => cells.owned(scope.to_string()),
        None => cells.null(),
    };
    cells.at(park.parked_at);
    sql.execute(PUT_PARK, cells.params()).map(drop)
}

/// The parked lanes that `wake` means.
pub(crate) fn parked(sql: Sql<'_>, wake: &Wake, limit: i64) -> Result<Vec<Lane>> {
    match wake {
        Wake::Lane(lane) => sql.all(PARKED_LANE, (lane.to_string(), limit), column::parse),
        Wake::Scope(scope) => sql.all(PARKED_SCOPE, (scope.to_string(), limit), column::parse),
        Wake::All => sql.all(PARKED_ALL, [limit], column::parse),
    }
}
