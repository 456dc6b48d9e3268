//! The port of settings.

use agentic_core::{error::Result, port::Settings};
use async_trait::async_trait;

use crate::{rows::SqliteRows, sql::column, store::SqliteStore};

pub(crate) const SETTING: &str = "SELECT value FROM settings WHERE key = ?1";
const PUT: &str = "INSERT OR REPLACE INTO settings (key, value) VALUES (?1, ?2)";
const REMOVE: &str = "DELETE FROM settings WHERE key = ?1";

pub(crate) fn get(rows: &mut SqliteRows<'_>, key: &str) -> Result<Option<String>> {
    rows.sql.one(SETTING, [key], column::get)
}

pub(crate) fn put(rows: &mut SqliteRows<'_>, key: &str, value: Option<&str>) -> Result<()> {
    rows.wrote();
    match value {
        Some(value) => rows.sql.execute(PUT, [key, value]),
        None => rows.sql.execute(REMOVE, [key]),
    }
    .map(drop)
}

#[async_trait]
impl Settings for SqliteStore {
    async fn get(&self, key: &str) -> Result<Option<String>> {
        let key = key.to_owned();
        self.read(move |rows| get(rows, &key)).await
    }

    async fn put(&self, key: &str, value: Option<String>) -> Result<()> {
        let key = key.to_owned();
        self.write(move |rows| put(rows, &key, value.as_deref())).await
    }
}
