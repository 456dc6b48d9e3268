//! The ledger where tasks and allowances live apart: the same transitions, in the order that a crash cannot harm.
//!
//! Between any two steps the process may die, and a step that answers `Unavailable` may have been done:
//!
//! - `assign` admits, then claims. A claim that was lost is voided by its admission's own id, and so is an admission
//!   whose answer did not come, since it is never claimed for. A claim whose answer did not come leaves a reservation
//!   that ends with its lease: the task may have it.
//! - `start` moves the task, then the job; repeating it completes what is missing.
//! - `beat` charges, extends the reservation, then renews the lease: a reservation never ends before its lease.
//! - `finish` moves the task, then settles. A job left open is settled by the reaper from its attempt's record.
//!
//! What an attempt that had started leaves behind has always started: whatever step comes next (a beat, a report, its
//! end, the reaper's settlement) starts a job that a crash left reserved, so that it counts as one used job.

use agentic_core::{
    agent::AgentStatus,
    allowance::UsageAnswer,
    amount::Amount,
    attempt::{Attempt, AttemptOutcome},
    clock::Timestamp,
    engine::{agents::check_incarnation, ledger::check_beat},
    error::{ConflictCode, Error, Kind, Result},
    id::JobId,
    job::{Job, JobOutcome, JobState},
    machine::{check_claimable, check_holder},
    port::{
        Assign, Assigned, Beat, BeatAnswer, BeatAttempt, Claim, Extend, Finish, Finished, Heard, Ledger,
        Ports, Renew, Report, Settle, StartAttempt, StartJob, VoidJob,
    },
    task::{Task, TaskStatus},
    usage::{Directive, Figures},
};
use async_trait::async_trait;

use crate::agents::with_load;

/// A [`Ledger`] over ports that do not share a transaction. Its own `ledger` port is not used.
#[derive(Debug, Clone)]
pub struct Saga {
    ports: Ports,
}

impl Saga {
    /// The ledger over these ports.
    pub fn new(ports: Ports) -> Self {
        Self { ports }
    }

    /// Refuses an agent that may not be given work now; an agent that never registered may take some itself.
    async fn check_agent(&self, claim: &Claim) -> Result<()> {
        let refuse = |why: &str| {
            let detail = format!("agent {} {why}", claim.agent_id);
            Err(Error::conflict(ConflictCode::AgentUnavailable, detail))
        };
        let info = match self.ports.agents.get(&claim.agent_id).await {
            Ok(info) => info,
            Err(Error::NotFound { .. }) if claim.incarnation.is_none() && !claim.dispatched => return Ok(()),
            Err(Error::NotFound { .. }) => return refuse("is not registered"),
            Err(error) => return Err(error),
        };
        check_incarnation(&info, claim.incarnation)?;
        if info.draining {
            return refuse("is draining");
        }
        if claim.dispatched && info.status == AgentStatus::Offline {
            return refuse("is offline");
        }
        Ok(())
    }

    /// Takes back an admission for which nothing was claimed; one that stays ends by itself.
    async fn give_back(&self, void: VoidJob) {
        if let Err(error) = self.ports.allowances.void(void).await {
            tracing::debug!(%error, "an admission was not taken back; it ends with its reservation");
        }
    }

    /// Who was admitted first holds the task, or is about to: its claim is the only one that can follow.
    async fn lost_to_another(&self, job: &JobId, error: Error) -> Error {
        match self.ports.allowances.job(job).await {
            Ok(Some(Job { agent_id, .. })) => Error::Conflict {
                code: ConflictCode::AlreadyClaimed,
                detail: format!("task {} is held by agent {agent_id}", job.task),
                holder: Some(agent_id),
            },
            _ => error,
        }
    }

    /// The attempt and its lease, if this start of the agent holds it; else why not.
    async fn held_by(
        &self,
        beat: &Beat,
        named: &BeatAttempt,
    ) -> Result<std::result::Result<(Attempt, Option<Timestamp>), &'static str>> {
        let id = &named.job;
        let task = match self.ports.tasks.get(&id.task, beat.now).await {
            Ok(task) => task,
            Err(Error::NotFound { .. }) => return Ok(Err("lease_lost")),
            Err(error) => return Err(error),
        };
        if task.attempt == id.attempt && task.status == TaskStatus::Cancelled {
            return Ok(Err("cancelled"));
        }
        if check_holder(&task, Some(&beat.agent_id), Some(id.attempt)).is_err() {
            return Ok(Err("lease_lost"));
        }
        let attempt = self.ports.tasks.attempt(id).await?;
        let own = |attempt: &Attempt| beat.incarnation.is_none_or(|n| n == attempt.incarnation);
        Ok(attempt.filter(own).map(|attempt| (attempt, task.lease_expires_at)).ok_or("lease_lost"))
    }

    /// Starts an attempt by its first beat; `false` when its reservation ran out before.
    async fn begin(&self, beat: &Beat, attempt: &Attempt, job: &Job) -> Result<bool> {
        if job.state != JobState::Reserved && attempt.started_at.is_some() {
            return Ok(true);
        }
        let agent_id = Some(beat.agent_id.clone());
        let start =
            StartAttempt { job: job.id.clone(), agent_id, incarnation: beat.incarnation, now: beat.now };
        match Ledger::start(self, start).await {
            Ok(_) => Ok(true),
            Err(Error::Conflict { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn beat_one(&self, beat: &Beat, named: &BeatAttempt) -> Result<BeatAnswer> {
        let now = beat.now;
        let stop = |reason: &str| BeatAnswer {
            job: named.job.clone(),
            directive: Directive::Stop,
            reason: Some(reason.to_owned()),
            lease_expires_at: None,
            remaining_tokens: None,
            cost_micros: Amount::ZERO,
            cost_source: None,
        };
        let job = self.ports.allowances.job(&named.job).await?;
        let Some(job) = job.filter(|job| job.agent_id == beat.agent_id) else {
            return Ok(stop("lease_lost"));
        };
        let (attempt, lease) = match self.held_by(beat, named).await? {
            Ok((attempt, lease)) if self.begin(beat, &attempt, &job).await? => (attempt, lease),
            refused => {
                let (cost_micros, cost_source) = match named.figures {
                    Some(figures) => {
                        let said = self.charge(&job, figures, now).await?;
                        (said.cost_micros, said.cost_source)
                    }
                    None => (job.cost(), job.cost_source()),
                };
                let reason = refused.err().unwrap_or("lease_lost");
                return Ok(BeatAnswer { cost_micros, cost_source, ..stop(reason) });
            }
        };
        let standing = self.charge(&job, named.figures.unwrap_or_default(), now).await?;
        let UsageAnswer { cost_micros, cost_source, .. } = standing;
        let stop = |reason: &str| BeatAnswer { cost_micros, cost_source, ..stop(reason) };
        if attempt.deadline.is_some_and(|deadline| deadline <= now) {
            return Ok(stop("time_bound"));
        }
        if standing.directive == Directive::Stop {
            // Its own lease: a reservation may have been extended for a renewal that never came.
            return Ok(BeatAnswer { lease_expires_at: lease, ..stop(&standing.reason.unwrap_or_default()) });
        }
        let expires_at = attempt.renewed_until(now).max(job.expires_at);
        let extended = self.ports.allowances.extend(Extend { job: job.id.clone(), expires_at, now }).await;
        let expires_at = match extended {
            Ok(job) => job.expires_at,
            Err(Error::Refused(_) | Error::Conflict { .. } | Error::NotFound { .. }) => {
                return Ok(stop("lease_lost"));
            }
            Err(error) => return Err(error),
        };
        let renew = Renew { job: job.id.clone(), agent_id: beat.agent_id.clone(), expires_at, now };
        match self.ports.tasks.renew(renew).await {
            Ok(_) => {}
            Err(Error::Conflict { .. } | Error::NotFound { .. }) => return Ok(stop("lease_lost")),
            Err(error) => return Err(error),
        }
        Ok(BeatAnswer {
            job: job.id,
            directive: standing.directive,
            reason: standing.reason,
            lease_expires_at: Some(expires_at),
            remaining_tokens: standing.remaining_tokens,
            cost_micros,
            cost_source,
        })
    }

    /// Whether an attempt is recorded as started.
    async fn has_started(&self, id: &JobId) -> Result<bool> {
        Ok(self.ports.tasks.attempt(id).await?.is_some_and(|attempt| attempt.started_at.is_some()))
    }

    /// Charges a job that exists: its own pinned limits hold.
    async fn charge(&self, job: &Job, figures: Figures, now: Timestamp) -> Result<UsageAnswer> {
        let report = Report {
            job: job.id.clone(),
            agent_id: job.agent_id.clone(),
            model: None,
            figures,
            limits: Vec::new(),
            price: None,
            stop: None,
            expires_at: job.expires_at,
            now,
        };
        self.ports.allowances.report(report).await
    }
}

#[async_trait]
impl Ledger for Saga {
    async fn assign(&self, assign: Assign) -> Result<Assigned> {
        let Assign { claim, admission } = assign;
        if claim.job != admission.job
            || claim.agent_id != admission.agent_id
            || claim.expires_at != admission.expires_at
        {
            return Err(Error::invalid("assign", "both halves must name the same job, agent and expiry"));
        }
        // What cannot be claimed is not admitted; to try the claim for its answer might succeed a moment later.
        let task = self.ports.tasks.get(&claim.job.task, claim.now).await?;
        check_claimable(&task, claim.job.attempt, claim.now)?;
        self.check_agent(&claim).await?;
        let (job, now, dispatched) = (claim.job.clone(), claim.now, claim.dispatched);
        let void = VoidJob { job: job.clone(), admission: admission.id.clone(), now };
        match self.ports.allowances.admit(admission).await {
            Ok(_) => {}
            Err(error) if error.is_conflict(ConflictCode::AlreadyAdmitted) => {
                return Err(self.lost_to_another(&job, error).await);
            }
            Err(error) => {
                if error.is_retryable() {
                    self.give_back(void).await;
                }
                return Err(error);
            }
        }
        let task = match self.ports.tasks.claim(claim).await {
            Ok(task) => task,
            Err(error) => {
                // Where nobody knows whether it was claimed, the reservation ends with its lease.
                if !error.is_retryable() {
                    self.give_back(void).await;
                }
                return Err(error);
            }
        };
        if !dispatched && let Err(error) = self.ports.allowances.start(StartJob { job, now }).await {
            // The task is taken: whoever holds it must know, and its next word starts the job.
            tracing::debug!(%error, task = %task.id, "an attempt runs whose job has not started yet");
        }
        Ok(Assigned { task })
    }

    async fn start(&self, start: StartAttempt) -> Result<Task> {
        let job = StartJob { job: start.job.clone(), now: start.now };
        if self.ports.allowances.job(&job.job).await?.is_none() {
            let task = self.ports.tasks.get(&job.job.task, job.now).await?;
            check_holder(&task, start.agent_id.as_ref(), Some(job.job.attempt))?;
            return Err(Error::not_found(Kind::Job, &job.job));
        }
        let task = self.ports.tasks.start(start).await?;
        self.ports.allowances.start(job).await?;
        Ok(task)
    }

    async fn beat(&self, beat: Beat) -> Result<Vec<BeatAnswer>> {
        check_beat(&beat)?;
        let mut answers = Vec::with_capacity(beat.attempts.len());
        // One after the other: what one used counts for what the next is told.
        for named in &beat.attempts {
            answers.push(self.beat_one(&beat, named).await?);
        }
        Ok(answers)
    }

    async fn heartbeat(&self, beat: Beat) -> Result<Heard> {
        check_beat(&beat)?;
        let (sign, now) = (beat.sign_of_life(), beat.now);
        let agent = self.ports.agents.heartbeat(sign).await?;
        let answers = Ledger::beat(self, beat).await?;
        Ok(Heard { agent: with_load(&self.ports, agent, now).await?, answers })
    }

    async fn finish(&self, finish: Finish) -> Result<Finished> {
        let Finish { end, figures } = finish;
        let (now, starts, outcome) = (end.now, end.ending.proves_start(), end.ending.outcome());
        let (task, fence) = (end.task.clone(), end.attempt);
        let finished = self.ports.tasks.end_attempt(end).await?;
        let attempt = match (&finished, fence) {
            (_, Some(attempt)) => attempt,
            (Finished::Accepted(task), None) => task.attempt,
            (Finished::Late { .. }, None) => return Ok(finished),
        };
        let id = JobId::new(task, attempt);
        let Some(job) = self.ports.allowances.job(&id).await? else { return Ok(finished) };
        // A report starts its job, whatever became of the reservation.
        let unstarted = job.state == JobState::Reserved && (starts || self.has_started(&id).await?);
        if figures.is_some() || unstarted {
            self.charge(&job, figures.unwrap_or_default(), now).await?;
        }
        let outcome = match finished {
            Finished::Accepted(_) => outcome.job_outcome(),
            Finished::Late { .. } => {
                let recorded = self.ports.tasks.attempt(&id).await?.and_then(|attempt| attempt.outcome);
                recorded.map_or(JobOutcome::Failed, AttemptOutcome::job_outcome)
            }
        };
        match self.ports.allowances.settle(Settle { job: id, outcome, now }).await {
            Ok(_) | Err(Error::NotFound { kind: Kind::Job, .. }) => Ok(finished),
            Err(error) => Err(error),
        }
    }
}
