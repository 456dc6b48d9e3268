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

pub(crate) const FORGET_OPENING: &str = "DELETE FROM opening
    WHERE scope = ?1 AND meter = ?2 AND period = ?3 AND bucket = ?4";

/// How many sums of the opening balance one step takes out.
const MAX_DUE: usize = 1_000;

/// Folds at most `limit` of the oldest entries from before `before` into the opening balance, so that the meters still
/// are the sum of both. What stands in buckets that stopped counting before it is taken out of the meters instead:
/// nobody reads it any more; so is what was folded while its bucket still counted. Answers how
/// many.
pub(crate) fn fold(sql: Sql<'_>, before: Timestamp, limit: usize) -> Result<usize> {
    let oldest = sql.all(OLDEST_ENTRIES, [count(limit)], |columns| {
        Ok((columns.get::<i64>()?, columns.at()?, columns.json::<Vec<MoveRecord>>()?))
    })?;
    let (mut opening, mut meters, mut last) = (BTreeMap::new(), Meters::default(), None);
    let mut emptied: BTreeSet<(MeterKey, i64)> = BTreeSet::new();
    let mut folded = 0;
    for (id, _, moves) in oldest.into_iter().take_while(|(_, at, _)| *at < before) {
        (last, folded) = (Some(id), folded + 1);
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
    if let Some(last) = last {
        sql.execute(DELETE_ENTRIES, [last])?;
        meter::write_opening(sql, &opening)?;
    }
    let due = meter::read_sums(sql, meter::OPENING_DUE, (before.millis(), count(MAX_DUE)))?;
    for ((key, bucket), sum) in due {
        meters.add(&Move { key: key.clone(), bucket, delta: sum.saturating_neg() });
        sql.execute(FORGET_OPENING, key_params(&key, bucket))?;
        emptied.insert((key, bucket));
    }
    meters.write(sql)?;
    for (key, bucket) in emptied {
        sql.execute(FORGET_METER, key_params(&key, bucket))?;
    }
    Ok(folded)
}

fn key_params(key: &MeterKey, bucket: i64) -> (String, &'static str, String, i64) {
    (key.scope.to_string(), key.meter.as_str(), key.window.to_string(), bucket)
}
