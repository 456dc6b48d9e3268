//! The threads that read beside the writer.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
};

use agentic_core::error::{Error, Result};
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::{rows::SqliteRows, shared::Shared, sql::Sql};

/// A read that waits for a connection.
type Query = Box<dyn FnOnce(&Connection) + Send>;

/// The way to the reader threads; dropping it ends them once all that was accepted is done.
#[derive(Debug)]
pub(crate) struct Readers {
    queue: Option<SyncSender<Query>>,
    threads: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
}

impl Readers {
    /// Starts one thread a connection.
    pub(crate) fn spawn(conns: Vec<Connection>, shared: Arc<Shared>) -> Result<Self> {
        let (queue, queries) = sync_channel::<Query>(shared.options.queue);
        let queries = Arc::new(Mutex::new(queries));
        let start = |conn: Connection| {
            let queries = Arc::clone(&queries);
            std::thread::Builder::new()
                .name("agentic-sqlite-reader".to_owned())
                .spawn(move || run(&conn, &queries))
                .map_err(|error| Error::unavailable_from("a thread for a reader", error))
        };
        let threads = conns.into_iter().map(start).collect::<Result<_>>()?;
        Ok(Self { queue: Some(queue), threads, shared })
    }

    /// Runs `read` on one consistent snapshot.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut SqliteRows<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (asked, answer) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        let query = move |conn: &Connection| {
            let sql = Sql::new(conn, &shared.read_statements);
            let answer = catch_unwind(AssertUnwindSafe(|| {
                sql.execute("BEGIN", [])?;
                let answer = read(&mut SqliteRows::new(sql));
                sql.execute("COMMIT", [])?;
                answer
            }));
            let answer =
                answer.unwrap_or_else(|_| Err(Error::backend("a read (it panicked, which is a bug)")));
            if !conn.is_autocommit()
                && let Err(error) = sql.execute("ROLLBACK", [])
            {
                tracing::error!(%error, "a read could not be ended");
            }
            // Who asked may have gone.
            drop(asked.send(answer));
        };
        let stopped = || Error::unavailable("the readers (they have stopped)");
        let queue = self.queue.as_ref().ok_or_else(stopped)?;
        queue.try_send(Box::new(query)).map_err(|error| match error {
            TrySendError::Full(_) => Error::unavailable("the readers (their queue is full)"),
            TrySendError::Disconnected(_) => stopped(),
        })?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        drop(self.queue.take());
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a reader thread had panicked");
            }
        }
    }
}

fn run(conn: &Connection, queries: &Mutex<Receiver<Query>>) {
    loop {
        // One thread waits in the channel, the others for the lock; the query itself runs outside of it.
        let query = queries.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(query) = query else { return };
        query(conn);
    }
}
