//! The store: one file, one writer, some readers.

use std::{
    path::Path,
    sync::{Arc, atomic::Ordering},
};

use agentic_core::{
    error::{Error, Result},
    id::JobId,
    port::Ports,
};

use crate::{
    options::SqliteOptions,
    readers::Readers,
    rows::{SqliteRows, log},
    schema,
    shared::Shared,
    sql::{Sql, column},
    writer::Writer,
};

/// Every port of one fleet on one SQLite file; clones share it.
///
/// Dropping the last clone finishes what was accepted and closes the file.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

/// In the order of dropping: the writer's connection closes last, and so cleans the WAL up.
#[derive(Debug)]
struct Inner {
    readers: Readers,
    writer: Writer,
    shared: Arc<Shared>,
}

impl SqliteStore {
    /// Opens a file, makes it if there is none, and brings its schema up to date. It blocks on the disk.
    ///
    /// # Errors
    /// `Unsupported` for a file of another program, of a newer version of this one, or for a SQLite that is too old;
    /// `Unavailable` where the file cannot be opened or another process holds it for longer than the busy timeout.
    pub fn open(path: impl AsRef<Path>, options: SqliteOptions) -> Result<Self> {
        // Absolute: it names the same file wherever the process goes, and SQLite takes it for no URI.
        let path = std::path::absolute(path)
            .map_err(|error| Error::unavailable_from("the working directory", error))?;
        let writer = schema::open_writer(&path, &options)?;
        let readers =
            (0..options.readers).map(|_| schema::open_reader(&path, &options)).collect::<Result<_>>()?;
        let shared = Arc::new(Shared::new(path, options, 0));
        let newest = Sql::new(&writer, &shared.statements).one(log::LAST_EVENT, [], column::unsigned)?;
        shared.saw_event(newest.unwrap_or_default());
        let writer = Writer::spawn(writer, Arc::clone(&shared))?;
        let readers = Readers::spawn(readers, Arc::clone(&shared))?;
        Ok(Self { inner: Arc::new(Inner { readers, writer, shared }) })
    }

    /// The ports onto it.
    pub fn ports(&self) -> Ports {
        let port = Arc::new(self.clone());
        Ports {
            tasks: Arc::clone(&port) as _,
            agents: Arc::clone(&port) as _,
            allowances: Arc::clone(&port) as _,
            events: Arc::clone(&port) as _,
            settings: Arc::clone(&port) as _,
            ledger: port,
        }
    }

    /// How many SQL statements the writer has run: what a command costs, whatever the machine.
    pub fn statements(&self) -> u64 {
        self.inner.shared.statements.get()
    }

    /// How many commands the writer has run; one that was run again after a rollback counts again.
    pub fn commands(&self) -> u64 {
        self.inner.shared.commands.load(Ordering::Relaxed)
    }

    /// How many transactions the writer has run.
    pub fn batches(&self) -> u64 {
        self.inner.shared.batches.load(Ordering::Relaxed)
    }

    /// Has SQLite read the whole file; says what is wrong with it, in its words, and nothing when all is well.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn integrity_check(&self) -> Result<Vec<String>> {
        let said =
            self.read(|rows| rows.sql.all("PRAGMA integrity_check", [], column::get::<String>)).await?;
        let broken = self
            .read(|rows| {
                rows.sql.all("PRAGMA foreign_key_check", [], |columns| {
                    Ok(format!("a row of {} refers to one that is missing", columns.get::<String>()?))
                })
            })
            .await?;
        Ok(said.into_iter().filter(|line| line != "ok").chain(broken).collect())
    }

    /// Copies the file as it stands now, while it is in use, to `target`, which must not exist.
    ///
    /// # Errors
    /// `Invalid` where `target` exists; `Unavailable` where it cannot be written.
    pub async fn backup(&self, target: impl AsRef<Path>) -> Result<()> {
        let (target, shared) = (target.as_ref().to_owned(), Arc::clone(&self.inner.shared));
        let copy = move || crate::backup::copy(&shared.path, &target, &shared.options);
        let copied = tokio::task::spawn_blocking(copy).await;
        copied.unwrap_or_else(|error| Err(Error::backend_from("the backup", error)))
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.inner.shared
    }

    /// Runs `step` in the writer's transaction; it may be run more than once.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        step: impl FnMut(&mut SqliteRows<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.inner.writer.write(Vec::new(), step).await
    }

    /// As [`SqliteStore::write`], of a step that reads these attempts.
    pub(crate) async fn write_on<T: Send + 'static>(
        &self,
        touches: Vec<JobId>,
        step: impl FnMut(&mut SqliteRows<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.inner.writer.write(touches, step).await
    }

    /// Runs `read` on one consistent snapshot.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut SqliteRows<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.inner.readers.read(read).await
    }
}
