//! The port of settings.

use agentic_core::{error::Result, port::Settings};
use async_trait::async_trait;

use crate::{sql::column, store::SqliteStore};

pub(crate) const SETTING: &str = "SELECT value FROM settings WHERE key = ?1";
const PUT: &str = "INSERT OR REPLACE INTO settings (key, value) VALUES (?1, ?2)";
const REMOVE: &str = "DELETE FROM settings WHERE key = ?1";

#[async_trait]
impl Settings for SqliteStore {
    async fn get(&self, key: &str) -> Result<Option<String>> {
        let key = key.to_owned();
        self.read(move |rows| rows.sql.one(SETTING, [&key], column::get)).await
    }

    async fn put(&self, key: &str, value: Option<String>) -> Result<()> {
        let key = key.to_owned();
        self.write(move |rows| {
            rows.wrote();
            match &value {
                Some(value) => rows.sql.execute(PUT, [&key, value]),
                None => rows.sql.execute(REMOVE, [&key]),
            }
            .map(drop)
        })
        .await
    }
}
