//! Opening a file: whose it is, which schema it has, and how the connection behaves.

use std::{path::Path, time::Duration};

use agentic_core::error::{Error, Result};
use backon::{BlockingRetryable, ConstantBuilder};
use rusqlite::{Connection, OpenFlags, types::Value};
use rusqlite_migration::{M, Migrations};

use crate::{
    error::{about, storage},
    options::SqliteOptions,
};

/// "agnt": what tells our files from those of other programs.
const APPLICATION_ID: i64 = 0x6167_6e74;
/// Older ones can corrupt a WAL (sqlite.org/wal.html#the_wal_reset_bug).
const OLDEST_SQLITE: i32 = 3_051_003;
/// How large the WAL may stay after a checkpoint, in bytes.
const WAL_LIMIT: i64 = 64 << 20;
/// How many pages the WAL holds before a commit also makes a checkpoint: 16 MiB.
const WAL_PAGES: i64 = 4_096;
/// How long to wait before another try to open a file that another process is opening.
const PAUSE: Duration = Duration::from_millis(5);
/// How much of the file the writer keeps in memory, in KiB.
const WRITER_CACHE: i64 = 16 << 10;
/// How many prepared statements a connection keeps: more than there are.
const STATEMENTS: usize = 256;

/// Every schema step that there ever was, oldest first; the number of them is the schema's version.
const STEPS: &[M<'static>] = &[
    M::up(include_str!("../migrations/0001_first.sql")),
    M::up(include_str!("../migrations/0002_budgets.sql")),
    M::up(include_str!("../migrations/0003_deferred.sql")),
    M::up(include_str!("../migrations/0004_price_source.sql")),
    M::up(include_str!("../migrations/0005_jobs.sql")),
    M::up(include_str!("../migrations/0006_resets.sql")),
    M::up(include_str!("../migrations/0007_task_of_job.sql")),
    M::up(include_str!("../migrations/0008_ended_jobs.sql")),
];

/// Opens the connection that writes: makes the file if there is none, and brings its schema up to date.
///
/// # Errors
/// `Unsupported` for another program's file and for a newer schema; `Unavailable` where another process holds it.
pub(crate) fn open_writer(path: &Path, options: &SqliteOptions) -> Result<Connection> {
    if rusqlite::version_number() < OLDEST_SQLITE {
        let what = format!("SQLite {} (at least 3.51.3 is needed)", rusqlite::version());
        return Err(Error::Unsupported { what });
    }
    let mut conn = connect(path, OpenFlags::default())?;
    // SQLite does not wait by itself for everything that is done here, so that all waiting is done here.
    let tries = usize::try_from(options.busy_timeout.as_millis() / PAUSE.as_millis()).unwrap_or(usize::MAX);
    let pauses = ConstantBuilder::new().with_delay(PAUSE).with_max_times(tries);
    (|| prepare(&mut conn, path, options)).retry(pauses).when(Error::is_retryable).call()?;
    conn.busy_timeout(options.busy_timeout).map_err(storage)?;
    Ok(conn)
}

fn prepare(conn: &mut Connection, path: &Path, options: &SqliteOptions) -> Result<()> {
    check_owner(conn, path)?;
    set(conn, "journal_mode", "wal")?;
    set(conn, "synchronous", options.synchronous.level())?;
    set(conn, "foreign_keys", 1)?;
    set(conn, "journal_size_limit", WAL_LIMIT)?;
    set(conn, "wal_autocheckpoint", WAL_PAGES)?;
    set(conn, "cache_size", -WRITER_CACHE)?;
    migrate(conn, path)
}

/// Opens a connection that only reads a file that [`open_writer`] has opened.
///
/// # Errors
/// `Unavailable`.
pub(crate) fn open_reader(path: &Path, options: &SqliteOptions) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = connect(path, flags)?;
    conn.busy_timeout(options.busy_timeout).map_err(storage)?;
    set(&conn, "query_only", 1)?;
    Ok(conn)
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection> {
    let conn = Connection::open_with_flags(path, flags)
        .map_err(|error| about(format!("the file {}", path.display()), error))?;
    conn.busy_timeout(Duration::ZERO).map_err(storage)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(conn)
}

/// Refuses another program's file, and one of a newer version of ours; touches neither.
fn check_owner(conn: &mut Connection, path: &Path) -> Result<()> {
    let mut read = || -> rusqlite::Result<(i64, i64, i64)> {
        // One transaction, so that a file that another process is just making is seen before or after it.
        let tx = conn.transaction()?;
        let pragma = |name| tx.pragma_query_value(None, name, |row| row.get(0));
        let tables = tx.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        Ok((pragma("application_id")?, pragma("user_version")?, tables))
    };
    let (owner, version, tables) =
        read().map_err(|error| about(format!("the file {}", path.display()), error))?;
    let fresh = owner == 0 && version == 0 && tables == 0;
    if !fresh && owner != APPLICATION_ID {
        let what = format!("the file {}, which belongs to another program,", path.display());
        return Err(Error::Unsupported { what });
    }
    if version > latest() {
        let path = path.display();
        let what = format!(
            "schema version {version} of {path} (this program knows up to {}; use the newer agentic)",
            latest()
        );
        return Err(Error::Unsupported { what });
    }
    Ok(())
}

fn migrate(conn: &mut Connection, path: &Path) -> Result<()> {
    let Err(error) = Migrations::from_slice(STEPS).to_latest(conn) else { return Ok(()) };
    // Two processes may open a new file at once; the one that comes second finds everything done.
    let version =
        conn.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0)).map_err(storage)?;
    if version == latest() {
        return Ok(());
    }
    let what = format!("bringing the schema of {} up to date", path.display());
    match error {
        rusqlite_migration::Error::RusqliteError { err, .. } => Err(about(what, err)),
        error => Err(Error::backend_from(what, error)),
    }
}

/// The schema version that this program makes.
fn latest() -> i64 {
    i64::try_from(STEPS.len()).unwrap_or(i64::MAX)
}

/// Sets a pragma, and checks that it took: SQLite ignores what it does not know or cannot do.
fn set(conn: &Connection, name: &str, value: impl ToString) -> Result<()> {
    let value = value.to_string();
    conn.execute_batch(&format!("PRAGMA {name} = {value}")).map_err(storage)?;
    let found = conn.pragma_query_value(None, name, |row| row.get::<_, Value>(0)).map_err(storage)?;
    let found = match found {
        Value::Integer(found) => found.to_string(),
        Value::Text(found) => found,
        other => format!("{other:?}"),
    };
    if found == value {
        return Ok(());
    }
    Err(Error::backend(format!("setting the pragma {name} to {value} (it is {found})")))
}
