//! What the machine can do by itself, in the same run.

use std::{collections::HashMap, path::Path, process::Command, sync::Mutex, thread, time::Duration};

use anyhow::{Context, Result};
use rusqlite::Connection;
use tokio::sync::mpsc;

use crate::{
    redis::Redis,
    report::Report,
    timer::{Timer, percentile},
};

/// One row a commit, `synchronous=FULL`.
pub(crate) const COMMITS: &str = "SQLite FULL, one row a commit";
/// The same as a time.
pub(crate) const COMMIT: &str = "SQLite FULL, a commit";
/// A lock and a write to a map.
pub(crate) const MAP: &str = "map behind a mutex, two threads";
/// A message to another task and back.
pub(crate) const HOP: &str = "message to a task and back, p50";
/// Another process, and its end.
pub(crate) const PROCESS: &str = "process start (true), p50";

/// A command to Redis, and its answer.
pub(crate) const PING: &str = "Redis, a round trip, p50";

const FOR: Duration = Duration::from_secs(1);

/// Measures the limits.
pub(crate) async fn measure(dir: &Path, report: &mut Report) -> Result<()> {
    eprintln!("the machine");
    let rate = commits(dir, 1)?;
    report.limit(COMMITS, rate, "/s");
    report.limit(COMMIT, 1_000.0 / rate, "ms");
    report.limit("SQLite FULL, 16 rows a commit", commits(dir, 16)?, "rows/s");
    report.limit(MAP, map(), "/s");
    report.limit(HOP, hop().await?, "ms");
    report.limit(PROCESS, process(Command::new("true"))?, "ms");
    Ok(())
}

/// Rows a second, so many a commit.
fn commits(dir: &Path, rows: u32) -> Result<f64> {
    let dir = tempfile::tempdir_in(dir).context("cannot make a directory to write in")?;
    let mut db = Connection::open(dir.path().join("raw.db"))?;
    db.pragma_update(None, "journal_mode", "wal")?;
    db.pragma_update(None, "synchronous", "full")?;
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT NOT NULL) STRICT", [])?;
    let body = "x".repeat(200);
    let timer = Timer::start();
    let mut done = 0;
    while timer.elapsed() < FOR {
        let transaction = db.transaction()?;
        for _ in 0..rows {
            transaction.prepare_cached("INSERT INTO t (body) VALUES (?1)")?.execute([&body])?;
        }
        transaction.commit()?;
        done += rows;
    }
    Ok(timer.rate(done))
}

/// Writes a second to one map by two threads.
fn map() -> f64 {
    const EACH: u32 = 500_000;
    let map = Mutex::new(HashMap::new());
    let timer = Timer::start();
    thread::scope(|scope| {
        for worker in 0..2 {
            let map = &map;
            scope.spawn(move || {
                for number in 0..EACH {
                    let key = format!("task-{worker}-{}", number % 10_000);
                    if let Ok(mut map) = map.lock() {
                        map.insert(key, number);
                    }
                }
            });
        }
    });
    timer.rate(2 * EACH)
}

/// Milliseconds from a task to another one and back.
async fn hop() -> Result<f64> {
    let (there, mut arrived) = mpsc::channel::<()>(1);
    let (home, mut returned) = mpsc::channel::<()>(1);
    let echo =
        tokio::spawn(async move { while arrived.recv().await.is_some() && home.send(()).await.is_ok() {} });
    let mut measured = Vec::new();
    for _ in 0..2_000 {
        let timer = Timer::start();
        there.send(()).await?;
        returned.recv().await.context("the other task is gone")?;
        measured.push(timer.elapsed());
    }
    drop(there);
    echo.await?;
    Ok(percentile(&mut measured, 50))
}

/// Milliseconds that a command and its answer take, the median of 2,000.
pub(crate) async fn ping(redis: &Redis) -> Result<f64> {
    let mut measured = Vec::new();
    for _ in 0..2_000 {
        let timer = Timer::start();
        redis.command("PING", &[]).await?;
        measured.push(timer.elapsed());
    }
    Ok(percentile(&mut measured, 50))
}

/// Milliseconds from the start of a process to its end, the median of 20.
pub(crate) fn process(mut command: Command) -> Result<f64> {
    let mut measured = Vec::new();
    for _ in 0..20 {
        let timer = Timer::start();
        command.output().with_context(|| format!("cannot run {}", command.get_program().display()))?;
        measured.push(timer.elapsed());
    }
    Ok(percentile(&mut measured, 50))
}
