//! Statements: prepared once, counted, bound by position and read by position.

use std::{
    str::FromStr,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use agentic_core::{amount::Amount, clock::Timestamp, error::Result};
use rusqlite::{
    CachedStatement, Connection, Params, Row, params_from_iter,
    types::{FromSql, ToSqlOutput, Value, ValueRef},
};
use serde::{
    Serialize,
    de::{DeserializeOwned, IntoDeserializer, value},
};

use crate::error::{storage, unreadable};

/// Counts statements.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    statements: AtomicU64,
    before: Option<fn(u64)>,
}

impl Counter {
    /// `before` hears each number before the statement is run.
    pub(crate) fn new(before: Option<fn(u64)>) -> Self {
        Self { statements: AtomicU64::new(0), before }
    }

    /// How many there were.
    pub(crate) fn get(&self) -> u64 {
        self.statements.load(Ordering::Relaxed)
    }

    fn count(&self) {
        let number = self.statements.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(before) = self.before {
            before(number);
        }
    }
}

/// A connection whose statements are cached and counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sql<'c> {
    conn: &'c Connection,
    counter: &'c Counter,
}

impl<'c> Sql<'c> {
    /// `counter` counts every statement that is run.
    pub(crate) const fn new(conn: &'c Connection, counter: &'c Counter) -> Self {
        Self { conn, counter }
    }

    fn prepare(self, sql: &str) -> Result<CachedStatement<'c>> {
        self.counter.count();
        self.conn.prepare_cached(sql).map_err(storage)
    }

    /// Runs a statement without rows; says how many rows it changed.
    pub(crate) fn execute(self, sql: &str, params: impl Params) -> Result<usize> {
        self.prepare(sql)?.execute(params).map_err(storage)
    }

    /// Reads the first row.
    pub(crate) fn one<T>(
        self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&mut Columns<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        let mut statement = self.prepare(sql)?;
        let mut rows = statement.query(params).map_err(storage)?;
        rows.next().map_err(storage)?.map(|row| read(&mut Columns { row, next: 0 })).transpose()
    }

    /// Reads all rows.
    pub(crate) fn all<T>(
        self,
        sql: &str,
        params: impl Params,
        mut read: impl FnMut(&mut Columns<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut statement = self.prepare(sql)?;
        let mut rows = statement.query(params).map_err(storage)?;
        let mut all = Vec::new();
        while let Some(row) = rows.next().map_err(storage)? {
            all.push(read(&mut Columns { row, next: 0 })?);
        }
        Ok(all)
    }

    /// Inserts any number of rows with few statements.
    pub(crate) fn insert(self, table: &Table, cells: &Cells<'_>) -> Result<()> {
        let mut rest = cells.0.as_slice();
        for (size, sql) in SIZES.iter().zip(&table.sql) {
            while rest.len() >= size * table.columns {
                let (chunk, tail) = rest.split_at(size * table.columns);
                self.execute(sql.get_or_init(|| table.statement(*size)), params_from_iter(chunk))?;
                rest = tail;
            }
        }
        Ok(())
    }

    /// Reads the rows of any number of keys with few statements.
    pub(crate) fn look_up<T>(
        self,
        lookup: &Lookup,
        keys: &Cells<'_>,
        mut read: impl FnMut(&mut Columns<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut found = Vec::new();
        for chunk in keys.0.chunks(SIZES[0] * lookup.columns) {
            let fits = |size: &&usize| **size * lookup.columns >= chunk.len();
            let size = SIZES.iter().rev().find(fits).unwrap_or(&SIZES[0]);
            let slot = SIZES.iter().position(|other| other == size).and_then(|slot| lookup.sql.get(slot));
            // No row has the key NULL, so that padding finds nothing.
            let padding = std::iter::repeat_n(&NULL, size * lookup.columns - chunk.len());
            let sql = slot.map(|sql| sql.get_or_init(|| lookup.statement(*size)));
            let sql = sql.map_or("", String::as_str);
            found.extend(self.all(sql, params_from_iter(chunk.iter().chain(padding)), &mut read)?);
        }
        Ok(found)
    }

    /// The key of the row inserted last.
    pub(crate) fn last_key(self) -> i64 {
        self.conn.last_insert_rowid()
    }
}

/// Readers of rows with one column, where a method could not be named for rows of every lifetime.
pub(crate) mod column {
    use super::{Columns, DeserializeOwned, FromSql, FromStr, Result, Timestamp};

    pub(crate) fn get<T: FromSql>(columns: &mut Columns<'_>) -> Result<T> {
        columns.get()
    }

    pub(crate) fn parse<T: FromStr<Err = agentic_core::error::Error>>(
        columns: &mut Columns<'_>,
    ) -> Result<T> {
        columns.parse()
    }

    pub(crate) fn named<T: DeserializeOwned>(columns: &mut Columns<'_>) -> Result<T> {
        columns.named()
    }

    pub(crate) fn at(columns: &mut Columns<'_>) -> Result<Timestamp> {
        columns.at()
    }

    pub(crate) fn unsigned(columns: &mut Columns<'_>) -> Result<u64> {
        columns.unsigned()
    }
}

/// A limit as SQLite counts.
pub(crate) fn count(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// The numbers of rows for which a [`Table`] or a [`Lookup`] has a statement.
const SIZES: [usize; 7] = [64, 32, 16, 8, 4, 2, 1];

/// The statements for each of the [`SIZES`], made at their first use.
type Statements = [OnceLock<String>; SIZES.len()];

const NULL: ToSqlOutput<'static> = ToSqlOutput::Owned(Value::Null);

fn groups(columns: usize, rows: usize) -> String {
    let row = format!("({})", vec!["?"; columns].join(","));
    vec![row.as_str(); rows].join(",")
}

/// A table that rows are inserted into, many by one statement.
#[derive(Debug)]
pub(crate) struct Table {
    into: &'static str,
    columns: usize,
    conflict: &'static str,
    sql: Statements,
}

impl Table {
    /// `into` is the table with its `columns` columns, `conflict` what to do about a row that exists.
    pub(crate) const fn new(into: &'static str, columns: usize, conflict: &'static str) -> Self {
        Self { into, columns, conflict, sql: [const { OnceLock::new() }; SIZES.len()] }
    }

    /// How many values make a row.
    pub(crate) const fn columns(&self) -> usize {
        self.columns
    }

    fn statement(&self, rows: usize) -> String {
        // A failure rolls the transaction back in any case; said beforehand, SQLite keeps no journal for the
        // statement.
        let values = groups(self.columns, rows);
        format!("INSERT OR ROLLBACK INTO {} VALUES {values} {}", self.into, self.conflict)
    }
}

/// A query for the rows of many keys at once.
#[derive(Debug)]
pub(crate) struct Lookup {
    query: &'static str,
    columns: usize,
    sql: Statements,
}

impl Lookup {
    /// `query` reads from `k`, whose `columns` columns `column1` and so on are a key.
    pub(crate) const fn new(query: &'static str, columns: usize) -> Self {
        Self { query, columns, sql: [const { OnceLock::new() }; SIZES.len()] }
    }

    pub(crate) fn statement(&self, keys: usize) -> String {
        format!("WITH k AS (VALUES {}) {}", groups(self.columns, keys), self.query)
    }
}

/// Values to bind, row after row.
#[derive(Debug, Default)]
pub(crate) struct Cells<'a>(Vec<ToSqlOutput<'a>>);

impl<'a> Cells<'a> {
    /// Takes `room` values without moving them.
    pub(crate) fn with_room(room: usize) -> Self {
        Self(Vec::with_capacity(room))
    }

    /// Forgets the values, and keeps the room.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn text(&mut self, text: &'a str) -> &mut Self {
        self.push(ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())))
    }

    pub(crate) fn text_opt<T: AsRef<str>>(&mut self, text: Option<&'a T>) -> &mut Self {
        match text {
            Some(text) => self.text(text.as_ref()),
            None => self.null(),
        }
    }

    /// The name of a value of an enum.
    pub(crate) fn name_opt(&mut self, name: Option<&'static str>) -> &mut Self {
        match name {
            Some(name) => self.text(name),
            None => self.null(),
        }
    }

    pub(crate) fn owned(&mut self, text: String) -> &mut Self {
        self.push(ToSqlOutput::Owned(Value::Text(text)))
    }

    pub(crate) fn int(&mut self, int: impl Into<i64>) -> &mut Self {
        self.push(ToSqlOutput::Owned(Value::Integer(int.into())))
    }

    /// A number that no clock or counter of ours reaches; cut at the most that SQLite holds.
    pub(crate) fn int_cut(&mut self, int: impl TryInto<i64>) -> &mut Self {
        self.int(int.try_into().unwrap_or(i64::MAX))
    }

    pub(crate) fn at(&mut self, at: Timestamp) -> &mut Self {
        self.int(at.millis())
    }

    pub(crate) fn at_opt(&mut self, at: Option<Timestamp>) -> &mut Self {
        match at {
            Some(at) => self.at(at),
            None => self.null(),
        }
    }

    pub(crate) fn amount(&mut self, amount: Amount) -> &mut Self {
        self.int(amount.signed())
    }

    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<&mut Self> {
        let text = serde_json::to_string(value).map_err(unreadable)?;
        Ok(self.owned(text))
    }

    /// JSON, or nothing where `value` is absent.
    pub(crate) fn json_opt(&mut self, value: Option<&impl Serialize>) -> Result<&mut Self> {
        match value {
            Some(value) => self.json(value),
            None => Ok(self.null()),
        }
    }

    pub(crate) fn null(&mut self) -> &mut Self {
        self.push(ToSqlOutput::Owned(Value::Null))
    }

    /// The values, for a statement that is no [`Table`]'s.
    pub(crate) fn params(&self) -> impl Params + '_ {
        params_from_iter(&self.0)
    }

    fn push(&mut self, value: ToSqlOutput<'a>) -> &mut Self {
        self.0.push(value);
        self
    }
}

/// The columns of one row, read from left to right.
#[derive(Debug)]
pub(crate) struct Columns<'r> {
    row: &'r Row<'r>,
    next: usize,
}

impl Columns<'_> {
    pub(crate) fn get<T: FromSql>(&mut self) -> Result<T> {
        self.next += 1;
        self.row.get(self.next - 1).map_err(unreadable)
    }

    fn text(&mut self) -> Result<Option<&str>> {
        self.next += 1;
        self.row.get_ref(self.next - 1).map_err(unreadable)?.as_str_or_null().map_err(unreadable)
    }

    fn some<T>(found: Option<T>) -> Result<T> {
        found.ok_or_else(|| unreadable(rusqlite::types::FromSqlError::InvalidType))
    }

    /// An id, or whatever else reads what it writes.
    pub(crate) fn parse<T: FromStr<Err = agentic_core::error::Error>>(&mut self) -> Result<T> {
        self.parse_opt().and_then(Self::some)
    }

    pub(crate) fn parse_opt<T: FromStr<Err = agentic_core::error::Error>>(&mut self) -> Result<Option<T>> {
        self.text()?.map(|text| text.parse().map_err(unreadable)).transpose()
    }

    /// A value of an enum, by its name.
    pub(crate) fn named<T: DeserializeOwned>(&mut self) -> Result<T> {
        self.named_opt().and_then(Self::some)
    }

    pub(crate) fn named_opt<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        let read = |text: &str| T::deserialize(IntoDeserializer::<value::Error>::into_deserializer(text));
        self.text()?.map(read).transpose().map_err(unreadable)
    }

    pub(crate) fn json<T: DeserializeOwned>(&mut self) -> Result<T> {
        self.json_opt().and_then(Self::some)
    }

    pub(crate) fn json_opt<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        self.text()?.map(serde_json::from_str).transpose().map_err(unreadable)
    }

    pub(crate) fn at(&mut self) -> Result<Timestamp> {
        self.get().map(Timestamp::from_millis)
    }

    pub(crate) fn at_opt(&mut self) -> Result<Option<Timestamp>> {
        Ok(self.get::<Option<i64>>()?.map(Timestamp::from_millis))
    }

    pub(crate) fn amount(&mut self) -> Result<Amount> {
        self.get().map(Amount::from_signed)
    }

    /// A number that is never below zero.
    pub(crate) fn unsigned(&mut self) -> Result<u64> {
        u64::try_from(self.get::<i64>()?).map_err(unreadable)
    }
}
