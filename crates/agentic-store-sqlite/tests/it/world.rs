//! A file of its own, and the other program that holds it.

use std::path::PathBuf;

use agentic_core::{error::Result, port::Ports, task::Task};
use agentic_store_sqlite::{SqliteOptions, SqliteStore};
use agentic_testkit::given::{create, t, task};
use rusqlite::Connection;
use tempfile::TempDir;

/// A directory with the name of a file in it.
pub(crate) struct World {
    dir: TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("agentic.db")
    }

    pub(crate) fn open(&self) -> SqliteStore {
        self.open_with(SqliteOptions::new())
    }

    pub(crate) fn open_with(&self, options: SqliteOptions) -> SqliteStore {
        SqliteStore::open(self.path(), options).unwrap()
    }

    /// The file as another program sees it.
    pub(crate) fn raw(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }

    /// Keeps every writer out until [`release`] is called with what it returns.
    pub(crate) fn hold(&self) -> Connection {
        let raw = self.raw();
        raw.execute_batch("BEGIN IMMEDIATE").unwrap();
        raw
    }

    /// How many rows a table has.
    pub(crate) fn count(&self, table: &str) -> i64 {
        self.raw().query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    }
}

/// Lets the writers in again.
pub(crate) fn release(held: &Connection) {
    held.execute_batch("ROLLBACK").unwrap();
}

/// Creates one task with the defaults.
pub(crate) async fn submit(ports: &Ports, name: &str) -> Result<Task> {
    let created = ports.tasks.create_many(create(vec![task(name)], t(0))).await?;
    Ok(created.into_iter().next().unwrap().task)
}
