//! The opening balance of the ledger: what its folded entries moved.

use std::collections::{BTreeMap, BTreeSet};

use agentic_core::{clock::Timestamp, error::Result, job::Move, limit::MeterKey};

use super::{
    log::{self, MoveRecord},
    meter::{self, Meters},
};
use crate::sql::{Sql, count};

pub(crate) const OLDEST_ENTRIES: &str = "SELECT id, at, moves FROM entries ORDER BY id LIMIT ?1";
pub(crate) const DELETE_ENTRIES: &str = "DELETE FROM entries WHERE id <= ?1";
pub(crate) const FORGET_METER: &str = "DELETE FROM meters
    WHERE scope = ?1 AND meter = ?2 AND period = ?3 AND bucket = ?4 AND value = 0";

/// Folds at most `limit` of the oldest entries from before `before` into the opening balance, so that the meters still
/// are the sum of both. What stands in buckets that stopped counting before it is taken out of the meters instead:
/// nobody reads it any more.
pub(crate) fn fold(sql: Sql<'_>, before: Timestamp, limit: usize) -> Result<()> {
    let oldest = sql.all(OLDEST_ENTRIES, [count(limit)], |columns| {
        Ok((columns.get::<i64>()?, columns.at()?, columns.json::<Vec<MoveRecord>>()?))
    })?;
    let (mut opening, mut meters, mut last) = (BTreeMap::new(), Meters::default(), None);
    let mut emptied: BTreeSet<(MeterKey, i64)> = BTreeSet::new();
    for (id, _, moves) in oldest.into_iter().take_while(|(_, at, _)| *at < before) {
        last = Some(id);
        for movement in moves.into_iter().map(log::read_move) {
            if movement.key.window.frees_at(movement.bucket).is_some_and(|at| at <= before) {
                meters.add(&Move { delta: movement.delta.saturating_neg(), ..movement.clone() });
                emptied.insert((movement.key, movement.bucket));
            } else {
                let sum: &mut i64 = opening.entry((movement.key, movement.bucket)).or_default();
                *sum = sum.saturating_add(movement.delta);
            }
        }
    }
    let Some(last) = last else { return Ok(()) };
    sql.execute(DELETE_ENTRIES, [last])?;
    meter::write_opening(sql, &opening)?;
    meters.write(sql)?;
    for (MeterKey { scope, meter, window }, bucket) in emptied {
        sql.execute(FORGET_METER, (scope.to_string(), meter.as_str(), window.to_string(), bucket))?;
    }
    Ok(())
}
