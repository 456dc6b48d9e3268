//! The one thread that writes.
//!
//! It takes what waits, runs it in one transaction, commits, and answers: while a commit waits for the disk, the
//! next batch gathers. Nothing ticks when nothing is asked.

use std::{
    collections::BTreeSet,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
};

use agentic_core::{
    error::{Error, Result},
    id::JobId,
};
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::{error::is_storage, rows::SqliteRows, shared::Shared, sql::Sql};

/// So many rows put end a batch early, so that a transaction stays short.
const MAX_ROWS: usize = 8_192;

/// A transition that waits for its transaction. It is run again when that transaction fails.
trait Command: Send {
    /// The attempts that it will read, as far as is known.
    fn touches(&self) -> &[JobId];
    /// Does it, and keeps the answer.
    fn run(&mut self, rows: &mut SqliteRows<'_>) -> Ran;
    /// Tells the caller what came of it.
    fn answer(self: Box<Self>);
    /// Tells the caller that nothing came of it.
    fn fail(self: Box<Self>, error: Error);
}

/// What running a command came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ran {
    Done,
    Refused,
    Broken,
}

struct Step<T, F> {
    touches: Vec<JobId>,
    transition: F,
    answer: Option<Result<T>>,
    asked: oneshot::Sender<Result<T>>,
}

impl<T, F> Command for Step<T, F>
where
    T: Send,
    F: FnMut(&mut SqliteRows<'_>) -> Result<T> + Send,
{
    fn touches(&self) -> &[JobId] {
        &self.touches
    }

    fn run(&mut self, rows: &mut SqliteRows<'_>) -> Ran {
        let transition = &mut self.transition;
        let answer = catch_unwind(AssertUnwindSafe(|| transition(rows)))
            .unwrap_or_else(|_| Err(Error::backend("a transition (it panicked, which is a bug)")));
        let ran = match &answer {
            Ok(_) => Ran::Done,
            Err(error) if is_storage(error) => Ran::Broken,
            Err(_) => Ran::Refused,
        };
        self.answer = Some(answer);
        ran
    }

    fn answer(self: Box<Self>) {
        if let Some(answer) = self.answer {
            // Who asked may have gone; the transition stands.
            drop(self.asked.send(answer));
        }
    }

    fn fail(self: Box<Self>, error: Error) {
        drop(self.asked.send(Err(error)));
    }
}

/// The way to the writer thread; dropping it ends the thread once all that was accepted is done.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: Option<SyncSender<Box<dyn Command>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread on its connection.
    pub(crate) fn spawn(conn: Connection, shared: Arc<Shared>) -> Result<Self> {
        let (queue, commands) = sync_channel(shared.options.queue);
        let work = move || Worker { conn, commands, shared }.run();
        let thread = std::thread::Builder::new()
            .name("agentic-sqlite-writer".to_owned())
            .spawn(work)
            .map_err(|error| Error::unavailable_from("a thread for the writer", error))?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// Runs `step` in a transaction; answers after its commit. `step` may be run more than once.
    ///
    /// `touches` are the attempts that it will read: those of a whole batch are read together.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        touches: Vec<JobId>,
        step: impl FnMut(&mut SqliteRows<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (asked, answer) = oneshot::channel();
        let stopped = || Error::unavailable("the writer (it has stopped)");
        let queue = self.queue.as_ref().ok_or_else(stopped)?;
        queue.try_send(Box::new(Step { touches, transition: step, answer: None, asked })).map_err(
            |error| match error {
                TrySendError::Full(_) => Error::unavailable("the writer (its queue is full)"),
                TrySendError::Disconnected(_) => stopped(),
            },
        )?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.queue.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the writer thread had panicked");
        }
    }
}

/// The writer's side.
struct Worker {
    conn: Connection,
    commands: Receiver<Box<dyn Command>>,
    shared: Arc<Shared>,
}

/// Why a transaction was rolled back.
#[derive(Debug)]
enum Failure {
    /// A command failed; it keeps the answer.
    Command,
    /// The transaction itself did.
    Transaction(Error),
    /// It could not even begin.
    Begin(Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command => f.write_str("a command failed"),
            Self::Transaction(error) | Self::Begin(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl Worker {
    fn run(self) {
        let most = self.shared.options.max_batch;
        while let Ok(first) = self.commands.recv() {
            let mut batch = vec![first];
            let done = self.transact(&mut batch, most);
            match &done {
                Err(Failure::Begin(_)) => {
                    // Another process holds the file; what waits must not wait as long again, each for itself.
                    batch.extend(self.commands.try_iter().take(most));
                }
                Err(failure) if batch.len() > 1 => {
                    tracing::warn!(commands = batch.len(), %failure, "a batch was rolled back");
                    self.one_by_one(batch);
                    continue;
                }
                _ => {}
            }
            for command in batch {
                tell(command, &done);
            }
        }
    }

    /// Runs the commands of a failed batch again, each in a transaction of its own.
    fn one_by_one(&self, batch: Vec<Box<dyn Command>>) {
        let mut locked = None;
        for command in batch {
            let mut one = vec![command];
            let done = match locked.take() {
                Some(error) => Err(Failure::Begin(error)),
                None => self.transact(&mut one, 1),
            };
            for command in one {
                tell(command, &done);
            }
            // Once another process holds the file, the rest does not wait for it as long again.
            if let Err(Failure::Begin(error)) = done {
                locked = Some(error);
            }
        }
    }

    /// Runs commands in one transaction, taking up to `most` of those that wait, and commits or rolls back.
    fn transact(&self, batch: &mut Vec<Box<dyn Command>>, most: usize) -> Result<(), Failure> {
        let sql = Sql::new(&self.conn, &self.shared.statements);
        sql.execute("BEGIN IMMEDIATE", []).map_err(Failure::Begin)?;
        let mut rows = SqliteRows::new(sql);
        let done = self.run_all(batch, most, &mut rows).and_then(|()| {
            rows.flush().and_then(|()| sql.execute("COMMIT", [])).map_err(Failure::Transaction)
        });
        self.shared.batches.fetch_add(1, Ordering::Relaxed);
        if done.is_err() {
            // SQLite has rolled back by itself after some errors; then there is nothing to roll back.
            if !self.conn.is_autocommit()
                && let Err(error) = sql.execute("ROLLBACK", [])
            {
                tracing::error!(%error, "a failed transaction could not be rolled back");
            }
        } else if let Some(last) = rows.last_event() {
            self.shared.saw_event(last);
        }
        done.map(drop)
    }

    fn run_all(
        &self,
        batch: &mut Vec<Box<dyn Command>>,
        most: usize,
        rows: &mut SqliteRows<'_>,
    ) -> Result<(), Failure> {
        let mut done = 0;
        loop {
            let room = if rows.writes() < MAX_ROWS { most.saturating_sub(batch.len()) } else { 0 };
            batch.extend(self.commands.try_iter().take(room));
            let Some(fresh) = batch.get_mut(done..).filter(|fresh| !fresh.is_empty()) else { return Ok(()) };
            let touched: BTreeSet<&JobId> = fresh.iter().flat_map(|command| command.touches()).collect();
            rows.fetch(&touched).map_err(Failure::Transaction)?;
            done += fresh.len();
            for command in fresh {
                let before = rows.writes();
                self.shared.commands.fetch_add(1, Ordering::Relaxed);
                match command.run(rows) {
                    Ran::Done => {}
                    Ran::Refused if rows.writes() == before => {}
                    // The engine validates before it writes; should it ever not, nothing half-done may be committed.
                    Ran::Refused | Ran::Broken => return Err(Failure::Command),
                }
                if self.conn.is_autocommit() {
                    let what = "the transaction (SQLite rolled it back midway)";
                    return Err(Failure::Transaction(Error::backend(what)));
                }
            }
        }
    }
}

/// Tells the caller of a command what came of its transaction.
fn tell(command: Box<dyn Command>, done: &Result<(), Failure>) {
    match done {
        Ok(()) | Err(Failure::Command) => command.answer(),
        Err(Failure::Transaction(error) | Failure::Begin(error)) => command.fail(error.clone()),
    }
}

#[cfg(test)]
mod tests {
    use agentic_core::{
        clock::Timestamp,
        engine::Rows,
        error::ConflictCode,
        event::{EventType, NewEvent},
        port::Wake,
    };

    use super::*;
    use crate::{options::SqliteOptions, schema};

    fn open() -> (Writer, Arc<Shared>, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let (path, options) = (dir.path().join("agentic.db"), SqliteOptions::new());
        let conn = schema::open_writer(&path, &options).unwrap();
        let shared = Arc::new(Shared::new(path, options, 0));
        (Writer::spawn(conn, Arc::clone(&shared)).unwrap(), shared, dir)
    }

    async fn wakes(writer: &Writer) -> u64 {
        writer.write(Vec::new(), |rows| rows.wake()).await.unwrap()
    }

    #[tokio::test]
    async fn a_panic_is_an_answer_and_its_writes_are_undone() {
        let (writer, _shared, _dir) = open();
        let panics = |rows: &mut SqliteRows<'_>| -> Result<()> {
            rows.bump_wake()?;
            panic!("a bug");
        };
        let (bad, good) =
            tokio::join!(writer.write(Vec::new(), panics), writer.write(Vec::new(), |rows| rows.bump_wake()));
        assert_eq!(bad.unwrap_err().code(), "backend");
        good.unwrap();
        assert_eq!(wakes(&writer).await, 1);
    }

    #[tokio::test]
    async fn a_refusal_that_had_written_is_undone() {
        let (writer, _shared, _dir) = open();
        let refused = |rows: &mut SqliteRows<'_>| -> Result<()> {
            rows.bump_wake()?;
            Err(Error::conflict(ConflictCode::NotReady, "too late"))
        };
        let (bad, good) = tokio::join!(
            writer.write(Vec::new(), refused),
            writer.write(Vec::new(), |rows| rows.bump_wake())
        );
        assert!(bad.unwrap_err().is_conflict(ConflictCode::NotReady));
        good.unwrap();
        assert_eq!(wakes(&writer).await, 1);
        assert_eq!(writer.write(Vec::new(), |rows| rows.parked(&Wake::All, 9)).await.unwrap(), []);
    }

    #[tokio::test]
    async fn a_commit_wakes_who_waits_for_events() {
        let (writer, shared, _dir) = open();
        let event = NewEvent::new(EventType::AgentOnline, Timestamp::EPOCH);
        let append = move |rows: &mut SqliteRows<'_>| rows.append_event(event.clone());
        writer.write(Vec::new(), append.clone()).await.unwrap();
        let refused = |_: &mut SqliteRows<'_>| -> Result<()> { Err(Error::backend("the test")) };
        let (done, _) = tokio::join!(writer.write(Vec::new(), append), writer.write(Vec::new(), refused));
        done.unwrap();
        assert_eq!(*shared.newest.borrow(), 2, "what was rolled back is not told");
    }
}
