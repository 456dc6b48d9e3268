//! The port of the joint: both sides stand in one file, so that each step is one transaction.

use agentic_core::{
    engine::ledger,
    error::Result,
    id::JobId,
    port::{Assign, Assigned, Beat, BeatAnswer, Finish, Finished, Heard, Ledger, StartAttempt},
    task::Task,
};
use async_trait::async_trait;

use crate::store::SqliteStore;

#[async_trait]
impl Ledger for SqliteStore {
    async fn assign(&self, assign: Assign) -> Result<Assigned> {
        self.write_on(vec![assign.claim.job.clone()], move |rows| ledger::assign(rows, &assign)).await
    }

    async fn start(&self, start: StartAttempt) -> Result<Task> {
        self.write_on(vec![start.job.clone()], move |rows| ledger::start(rows, &start)).await
    }

    async fn beat(&self, beat: Beat) -> Result<Vec<BeatAnswer>> {
        let jobs = beat.attempts.iter().map(|attempt| attempt.job.clone()).collect();
        self.write_on(jobs, move |rows| ledger::beat(rows, &beat)).await
    }

    async fn heartbeat(&self, beat: Beat) -> Result<Heard> {
        let jobs = beat.attempts.iter().map(|attempt| attempt.job.clone()).collect();
        self.write_on(jobs, move |rows| ledger::heartbeat(rows, &beat)).await
    }

    async fn finish(&self, finish: Finish) -> Result<Finished> {
        let job = finish.end.attempt.map(|attempt| JobId::new(finish.end.task.clone(), attempt));
        self.write_on(job.into_iter().collect(), move |rows| ledger::finish(rows, &finish)).await
    }
}
