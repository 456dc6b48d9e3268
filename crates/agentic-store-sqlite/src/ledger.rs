//! The port of the joint: both sides stand in one file, so that each step is one transaction.

use agentic_core::{
    engine::ledger,
    error::Result,
    port::{Assign, Assigned, Beat, BeatAnswer, Finish, Finished, Ledger, StartAttempt},
    task::Task,
};
use async_trait::async_trait;

use crate::store::SqliteStore;

#[async_trait]
impl Ledger for SqliteStore {
    async fn assign(&self, assign: Assign) -> Result<Assigned> {
        self.write(move |rows| ledger::assign(rows, &assign)).await
    }

    async fn start(&self, start: StartAttempt) -> Result<Task> {
        self.write(move |rows| ledger::start(rows, &start)).await
    }

    async fn beat(&self, beat: Beat) -> Result<Vec<BeatAnswer>> {
        self.write(move |rows| ledger::beat(rows, &beat)).await
    }

    async fn finish(&self, finish: Finish) -> Result<Finished> {
        self.write(move |rows| ledger::finish(rows, &finish)).await
    }
}
