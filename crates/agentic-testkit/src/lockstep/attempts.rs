//! Calls about attempts: whole transitions, and the halves that a saga does alone.

use std::time::Duration;

use agentic_core::{
    attempt::{Ending, Next},
    clock::Timestamp,
    error::Result,
    id::JobId,
    port::{Admission, Assign, Beat, BeatAttempt, Claim, EndAttempt, Finish, Ports, Renew, StartAttempt},
    rpc::Call,
    task::{Task, TaskResult},
};

use super::generate::{Aim, Generator, PENDING, RUNNING};

impl Generator {
    async fn claim(&mut self, left: &Ports, aim: &Aim, now: Timestamp) -> Result<Claim> {
        let registered = left.agents.list().await?;
        let dispatched = self.chance(50);
        let agent_id = if !registered.is_empty() && (dispatched || self.chance(50)) {
            self.pick(&registered).id
        } else {
            self.any_agent()
        };
        let attempt = aim.task.as_ref().map_or(0, |task| task.attempt) + u32::from(self.chance(95));
        let lease = Duration::from_secs(self.rng.u64(5..60));
        Ok(Claim {
            job: JobId::new(aim.id.clone(), attempt),
            incarnation: self.incarnation(left, &agent_id).await?,
            agent_id,
            lease,
            expires_at: now.plus(lease),
            deadline: self.chance(15).then(|| now.plus(Duration::from_secs(self.rng.u64(10..90)))),
            dispatched,
            now,
        })
    }

    pub(super) async fn assign(&mut self, left: &Ports, now: Timestamp) -> Result<Call> {
        let aim = self.aim(left, PENDING).await?;
        let claim = self.claim(left, &aim, now).await?;
        let admission = self.admission(&claim.job, &claim.agent_id, aim.task.as_ref(), now);
        let admission = Admission { expires_at: claim.expires_at, ..admission };
        Ok(Call::LedgerAssign { assign: Assign { claim, admission } })
    }

    async fn start_attempt(&mut self, left: &Ports, now: Timestamp) -> Result<StartAttempt> {
        let aim = self.aim(left, RUNNING).await?;
        let incarnation = self.incarnation(left, &aim.agent).await?;
        let agent_id = self.chance(90).then_some(aim.agent);
        Ok(StartAttempt { job: aim.job, agent_id, incarnation, now })
    }

    pub(super) async fn start(&mut self, left: &Ports, now: Timestamp) -> Result<Call> {
        Ok(Call::LedgerStart { start: self.start_attempt(left, now).await? })
    }

    pub(super) async fn beat(&mut self, left: &Ports, now: Timestamp) -> Result<Call> {
        let first = self.aim(left, RUNNING).await?;
        let agent_id = first.agent.clone();
        let incarnation = self.incarnation(left, &agent_id).await?;
        let mut attempts = vec![BeatAttempt { job: first.job, figures: self.maybe_figures() }];
        for _ in 0..self.rng.usize(0..3) {
            let job = self.aim(left, RUNNING).await?.job;
            attempts.push(BeatAttempt { job, figures: self.maybe_figures() });
        }
        if self.chance(50) {
            attempts.truncate(self.rng.usize(0..=attempts.len()));
            return Ok(Call::LedgerHeartbeat { beat: Beat { agent_id, incarnation, attempts, now } });
        }
        Ok(Call::LedgerBeat { beat: Beat { agent_id, incarnation, attempts, now } })
    }

    /// What follows a failed attempt of this task, mostly as its count allows.
    fn next_of(&mut self, task: Option<&Task>, now: Timestamp) -> Next {
        let left = task.is_none_or(|task| task.retry_count < task.max_retries);
        if left == self.chance(95) { Next::RetryAt(self.later(now, 30)) } else { Next::DeadLetter }
    }

    pub(super) async fn end(&mut self, left: &Ports, now: Timestamp) -> Result<EndAttempt> {
        let aim = self.aim(left, RUNNING).await?;
        let ending = match self.rng.u32(0..10) {
            0..4 => {
                Ending::Completed(TaskResult { success: true, output: self.text(), ..TaskResult::default() })
            }
            4..7 => Ending::Failed { error: self.text(), next: self.next_of(aim.task.as_ref(), now) },
            7 => Ending::Blocked { reason: self.text() },
            8 => Ending::Expired {
                next: if self.chance(50) { Some(self.next_of(aim.task.as_ref(), now)) } else { None },
            },
            _ => Ending::Released { reason: self.text() },
        };
        let attempt = self.chance(85).then_some(aim.job.attempt);
        let agent_id = self.chance(85).then_some(aim.agent);
        Ok(EndAttempt { task: aim.id, attempt, agent_id, ending, now })
    }

    /// What the reaper does: ends what ran out, or looks for it.
    pub(super) async fn sweep(&mut self, left: &Ports, now: Timestamp) -> Result<Call> {
        let expired = left.tasks.expired(now, 5).await?;
        let Some((task, attempt)) = expired.first() else {
            return Ok(Call::TasksExpired { now, limit: 5 });
        };
        let next = attempt.started_at.map(|_| self.next_of(Some(task), now));
        let (number, ending) = (Some(attempt.id.attempt), Ending::Expired { next });
        let end = EndAttempt { task: task.id.clone(), attempt: number, agent_id: None, ending, now };
        Ok(Call::LedgerFinish { finish: Finish { end, figures: None } })
    }

    /// The task's half of a transition alone, as a saga does it.
    pub(super) async fn half(&mut self, left: &Ports, now: Timestamp) -> Result<Call> {
        Ok(match self.rng.u32(0..4) {
            0 => {
                let aim = self.aim(left, PENDING).await?;
                Call::TasksClaim { claim: self.claim(left, &aim, now).await? }
            }
            1 => Call::TasksStart { start: self.start_attempt(left, now).await? },
            2 => {
                let aim = self.aim(left, RUNNING).await?;
                let expires_at = self.later(now, 60);
                Call::TasksRenew { renew: Renew { job: aim.job, agent_id: aim.agent, expires_at, now } }
            }
            _ => Call::TasksEndAttempt { end: self.end(left, now).await? },
        })
    }
}
