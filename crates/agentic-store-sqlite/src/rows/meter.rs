//! Meters as they are stored, and what a transaction adds to them.

use std::collections::BTreeMap;

use agentic_core::{error::Result, job::Move, limit::MeterKey};

use rusqlite::Params;

use crate::sql::{Cells, Sql, Table};

pub(crate) const BUCKETS: &str = "SELECT bucket, value FROM meters
    WHERE scope = ?1 AND meter = ?2 AND period = ?3 AND bucket BETWEEN ?4 AND ?5 ORDER BY bucket";
pub(crate) const ALL_METERS: &str = "SELECT scope, meter, period, bucket, value FROM meters";
pub(crate) const OPENING_BALANCE: &str = "SELECT scope, meter, period, bucket, value FROM opening";
pub(crate) const OPENING_DUE: &str = "SELECT scope, meter, period, bucket, value FROM opening
    WHERE frees_at <= ?1 ORDER BY frees_at LIMIT ?2";
pub(crate) const OPENING_OF: &str = "SELECT scope, meter, period, bucket, value FROM opening
    WHERE scope >= ?1 AND scope < ?2 AND value <> 0";

pub(crate) const RESET_AT: &str = "SELECT at FROM resets WHERE agent_id = ?1";
pub(crate) const PUT_RESET: &str = "INSERT INTO resets (agent_id, at) VALUES (?1, ?2)
    ON CONFLICT (agent_id) DO UPDATE SET at = max(at, excluded.at)";

/// Sums saturate, as in the memory back end: where an integer would overflow, SQLite goes on with a real.
const ADD: &str = "ON CONFLICT (scope, meter, period, bucket) DO UPDATE SET value = CASE
    WHEN typeof(value + excluded.value) = 'integer' THEN value + excluded.value
    WHEN excluded.value > 0 THEN 9223372036854775807
    ELSE -9223372036854775808 END";
static METERS: Table = Table::new("meters (scope, meter, period, bucket, value)", 5, ADD);
static OPENING: Table = Table::new("opening (scope, meter, period, bucket, value, frees_at)", 6, ADD);

/// What meters stand at, or are moved by.
pub(crate) type Sums = BTreeMap<(MeterKey, i64), i64>;

/// Reads sums.
pub(crate) fn read_sums(sql: Sql<'_>, query: &str, params: impl Params) -> Result<Sums> {
    let sums = sql.all(query, params, |columns| {
        let key = MeterKey { scope: columns.parse()?, meter: columns.named()?, window: columns.parse()? };
        Ok(((key, columns.get()?), columns.get()?))
    })?;
    Ok(sums.into_iter().collect())
}

/// Adds to the opening balance.
pub(crate) fn write_opening(sql: Sql<'_>, sums: &Sums) -> Result<()> {
    let mut cells = Cells::with_room(sums.len() * OPENING.columns());
    for ((key, bucket), delta) in sums {
        put_sum(&mut cells, key, *bucket, *delta).at_opt(key.window.frees_at(*bucket));
    }
    sql.insert(&OPENING, &cells)
}

fn put_sum<'a>(
    cells: &'a mut Cells<'static>,
    key: &MeterKey,
    bucket: i64,
    sum: i64,
) -> &'a mut Cells<'static> {
    let (scope, window) = (key.scope.to_string(), key.window.to_string());
    cells.owned(scope).text(key.meter.as_str()).owned(window).int(bucket).int(sum)
}

/// The buckets that a transaction read, and the movements that it has not written yet.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    read: BTreeMap<MeterKey, Span>,
    moved: Sums,
}

/// The filled buckets from one to another, movements included.
#[derive(Debug)]
struct Span {
    from: i64,
    to: i64,
    filled: BTreeMap<i64, i64>,
}

impl Meters {
    /// The filled buckets of a meter from `from` to `to`, both included, ascending.
    pub(crate) fn buckets(
        &mut self,
        sql: Sql<'_>,
        key: &MeterKey,
        from: i64,
        to: i64,
    ) -> Result<Vec<(i64, i64)>> {
        if !self.read.get(key).is_some_and(|span| span.from <= from && to <= span.to) {
            let (scope, window) = (key.scope.to_string(), key.window.to_string());
            let params = (&scope, key.meter.as_str(), &window, from, to);
            let stored = sql.all(BUCKETS, params, |columns| Ok((columns.get()?, columns.get()?)))?;
            let mut span = Span { from, to, filled: stored.into_iter().collect() };
            for ((_, bucket), delta) in self.moved.range((key.clone(), from)..=(key.clone(), to)) {
                span.add(*bucket, *delta);
            }
            self.read.insert(key.clone(), span);
        }
        let filled = self.read.get(key).map(|span| &span.filled);
        Ok(filled.into_iter().flat_map(|filled| filled.range(from..=to)).map(|(b, v)| (*b, *v)).collect())
    }

    /// Moves a meter.
    pub(crate) fn add(&mut self, movement: &Move) {
        let Move { key, bucket, delta } = movement;
        if let Some(span) = self.read.get_mut(key) {
            span.add(*bucket, *delta);
        }
        let moved = self.moved.entry((key.clone(), *bucket)).or_default();
        *moved = moved.saturating_add(*delta);
    }

    /// Writes the movements.
    pub(crate) fn write(&mut self, sql: Sql<'_>) -> Result<()> {
        let mut cells = Cells::with_room(self.moved.len() * METERS.columns());
        for ((key, bucket), delta) in &self.moved {
            put_sum(&mut cells, key, *bucket, *delta);
        }
        sql.insert(&METERS, &cells)?;
        self.moved.clear();
        Ok(())
    }
}

impl Span {
    fn add(&mut self, bucket: i64, delta: i64) {
        if (self.from..=self.to).contains(&bucket) {
            let value = self.filled.entry(bucket).or_default();
            *value = value.saturating_add(delta);
        }
    }
}
