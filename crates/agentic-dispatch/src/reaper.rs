//! The reaper: silent agents go offline, expired leases settle and go back to the queue, old records are dropped.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use agentic_core::{
    attempt::{Attempt, AttemptOutcome, Ending},
    clock::Timestamp,
    error::{Error, Result},
    job::{Job, JobOutcome, JobState},
    port::{EndAttempt, ExpiredJobs, Finish, Reap, Report, Settle},
    task::Task,
    usage::Figures,
};
use tokio_util::sync::CancellationToken;

use crate::fleet::Fleet;

/// Where the time of the last sweep stands in the settings.
const LAST_SWEEP: &str = "sweep.reaper";
/// Where it stands until when nothing expires, for the reapers of all servers.
const HOLD: &str = "sweep.hold";
/// How far wall and monotonic clock may part between two sweeps.
const MAX_DRIFT: Duration = Duration::from_secs(5);
/// How many agents, attempts and jobs one step takes, and how many steps a sweep.
const STEP: (usize, usize) = (500, 20);
/// How often old records are dropped; at every sweep while one does not get through them.
const PRUNE_EVERY: Duration = Duration::from_mins(1);

/// What one sweep did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sweep {
    /// Agents that went offline.
    pub offline: usize,
    /// Attempts whose lease had run out.
    pub expired: usize,
    /// Jobs that were settled without their task.
    pub settled: usize,
    /// Nothing expires now: the fleet was not watched for a while, or a clock was moved.
    pub held: bool,
}

/// What a reaper remembers between two sweeps.
#[derive(Debug, Default)]
struct Memory {
    clocks: Option<(Timestamp, Duration)>,
    /// The last sweep ended because a store was away.
    was_away: Option<Timestamp>,
    pruned_at: Option<Timestamp>,
}

/// Sweeps a fleet. Any number may run on one; none is needed for the correctness of budgets.
#[derive(Debug)]
pub struct Reaper {
    fleet: Fleet,
    memory: Mutex<Memory>,
}

impl Reaper {
    pub(crate) fn new(fleet: Fleet) -> Self {
        Self { fleet, memory: Mutex::default() }
    }

    /// Sweeps until it is cancelled, and beside that holds what runs against limits that changed; a store that fails is
    /// logged and tried again.
    pub async fn run(&self, stop: CancellationToken) {
        tokio::join!(self.sweeps(&stop), self.follows(&stop));
    }

    async fn sweeps(&self, stop: &CancellationToken) {
        let mut every = self.every();
        while stop.run_until_cancelled(every.tick()).await.is_some() {
            match stop.run_until_cancelled(self.sweep()).await {
                Some(Err(error)) => {
                    // The dispatchers may be back before the next sweep.
                    self.fleet.begin_grace();
                    tracing::warn!(error = &error as &dyn std::error::Error, "a sweep of the reaper failed");
                }
                Some(Ok(sweep)) if sweep != Sweep::default() => tracing::debug!(?sweep, "swept"),
                Some(Ok(_)) => {}
                None => return,
            }
        }
    }

    async fn follows(&self, stop: &CancellationToken) {
        let mut every = self.every();
        while stop.run_until_cancelled(every.tick()).await.is_some() {
            if let Some(Err(error)) = stop.run_until_cancelled(self.follow()).await {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "running jobs do not follow the limits yet; trying again");
            }
        }
    }

    fn every(&self) -> tokio::time::Interval {
        let mut every = tokio::time::interval(self.fleet.policy().sweep_every());
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        every
    }

    /// Holds what runs against the limits that stand, if they changed since the last two looks of this server.
    ///
    /// # Errors
    /// `Unavailable`; what was brought up to date stays so.
    pub async fn follow(&self) -> Result<()> {
        self.fleet.follow_limits(self.fleet.now()).await
    }

    /// Sweeps once.
    ///
    /// An outage must not expire a healthy fleet: if the last sweep is older than a third of a lease, or wall and
    /// monotonic clock parted by more than 5 s, nothing expires for one lease, and agents with an expired attempt get
    /// no work for two heartbeats (design §8). So it is after a sweep that a store which was away cut off: where
    /// allowances live apart, nobody is heard without theirs. Whoever notices tells the reapers of the other servers:
    /// the time of its sweep would make them believe that all was watched.
    ///
    /// # Errors
    /// `Unavailable`; what was swept stays swept, and old records were dropped all the same.
    pub async fn sweep(&self) -> Result<Sweep> {
        let now = self.fleet.now();
        let swept = self.watch(now).await;
        let is_away = swept.as_ref().is_err_and(Error::is_retryable);
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).was_away = is_away.then_some(now);
        // Whatever became of it: a store that is full takes nothing else until something is dropped.
        let pruned = self.prune(now).await;
        let swept = swept.and_then(|sweep| pruned.map(|()| sweep));
        self.fleet.set_trouble(swept.as_ref().err().filter(|error| error.is_retryable()).cloned());
        swept
    }

    async fn watch(&self, now: Timestamp) -> Result<Sweep> {
        // Where allowances live apart and are away, nobody is heard, and what ended here would not be settled there.
        self.fleet.ports().allowances.expired(ExpiredJobs { limit: 1, now }).await?;
        let held = self.is_held(now).await?;
        let mut sweep = Sweep { held, ..Sweep::default() };
        if !held {
            sweep.offline = self.reap_agents(now).await?;
            sweep.expired = self.expire_attempts(now).await?;
            sweep.settled = self.settle_jobs(now).await?;
        }
        self.fleet.ports().settings.put(LAST_SWEEP, Some(now.to_string())).await?;
        // It could write, whatever else there is to drop.
        self.fleet.set_trouble(None);
        Ok(sweep)
    }

    async fn is_held(&self, now: Timestamp) -> Result<bool> {
        let policy = self.fleet.policy();
        // A hold is written before the time of its sweep, and read after it: who finds the one misses not the other.
        let last = self.time(LAST_SWEEP).await?;
        let until = self.time(HOLD).await?;
        let drifted = self.has_drifted(now);
        let was_away = self.memory.lock().unwrap_or_else(PoisonError::into_inner).was_away;
        // Another server that swept since has reached every store.
        let unwatched = was_away.is_some_and(|failed| last.is_none_or(|last| last <= failed))
            || last.is_some_and(|last| now.since(last) > policy.lease / 3 || last > now.plus(MAX_DRIFT));
        if drifted || unwatched {
            self.fleet.begin_grace();
            tracing::warn!(drifted, unwatched, "the fleet was not watched: nothing expires for one lease");
            self.fleet.ports().settings.put(HOLD, Some(now.plus(policy.lease).to_string())).await?;
            return Ok(true);
        }
        // One that is longer than a lease is of a clock that was ahead.
        let Some(until) = until.filter(|until| *until > now && *until <= now.plus(policy.lease)) else {
            return Ok(false);
        };
        self.fleet.extend_grace(until.minus(policy.lease).plus(policy.heartbeat * 2));
        Ok(true)
    }

    async fn time(&self, key: &str) -> Result<Option<Timestamp>> {
        let text = self.fleet.ports().settings.get(key).await?;
        Ok(text.and_then(|text| text.parse().ok()))
    }

    /// Whether wall and monotonic clock parted since the last look.
    fn has_drifted(&self, now: Timestamp) -> bool {
        let monotonic = self.fleet.clock().monotonic();
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.clocks.replace((now, monotonic)).is_some_and(|(wall, mono)| {
            let expected = wall.plus(monotonic.saturating_sub(mono));
            now.since(expected).max(expected.since(now)) > MAX_DRIFT
        })
    }

    async fn reap_agents(&self, now: Timestamp) -> Result<usize> {
        let mut offline = 0;
        for _ in 0..STEP.1 {
            let reap = Reap { ttl: self.fleet.policy().agent_ttl, limit: STEP.0, now };
            let reaped = self.fleet.ports().agents.reap(reap).await?.len();
            offline += reaped;
            if reaped < STEP.0 {
                break;
            }
        }
        Ok(offline)
    }

    async fn expire_attempts(&self, now: Timestamp) -> Result<usize> {
        let mut expired = 0;
        for _ in 0..STEP.1 {
            let found = self.fleet.ports().tasks.expired(now, STEP.0).await?;
            let last = found.len() < STEP.0;
            for (task, attempt) in found {
                expired += usize::from(self.expire(&task, &attempt, now).await?);
            }
            if last {
                break;
            }
        }
        Ok(expired)
    }

    /// Ends one expired attempt: it burns a retry if it had started; else its agent, which did not take its work, gets
    /// none for one backoff.
    async fn expire(&self, task: &Task, attempt: &Attempt, now: Timestamp) -> Result<bool> {
        let next = attempt.started_at.map(|_| self.fleet.after_failure(task, now));
        if next.is_none() {
            // Before the task is back: the dispatchers of all servers wake by that.
            self.fleet.skip(&attempt.agent_id, now.plus(self.fleet.policy().backoff.after(1))).await?;
        }
        let ending = Ending::Expired { next };
        let end = EndAttempt {
            task: task.id.clone(),
            attempt: Some(attempt.id.attempt),
            agent_id: None,
            ending,
            now,
        };
        match self.fleet.ports().ledger.finish(Finish { end, figures: None }).await {
            Ok(_) => Ok(true),
            // Renewed, ended or expired by another since it was read.
            Err(Error::Conflict { .. } | Error::NotFound { .. } | Error::Invalid { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Settles the jobs whose reservation ran out and whose task is not theirs any more, by what their attempt is
    /// recorded to have come to.
    async fn settle_jobs(&self, now: Timestamp) -> Result<usize> {
        let mut settled = 0;
        for _ in 0..STEP.1 {
            let found = self.fleet.ports().allowances.expired(ExpiredJobs { limit: STEP.0, now }).await?;
            let last = found.len() < STEP.0;
            for job in found {
                settled += usize::from(self.settle(&job, now).await?);
            }
            if last {
                break;
            }
        }
        Ok(settled)
    }

    async fn settle(&self, job: &Job, now: Timestamp) -> Result<bool> {
        let ports = self.fleet.ports();
        let attempt = ports.tasks.attempt(&job.id).await?;
        if attempt.as_ref().is_some_and(|attempt| attempt.ended_at.is_none()) {
            // Its attempt runs, or expires in its own step, which settles both.
            return Ok(false);
        }
        let started = attempt.as_ref().is_some_and(|attempt| attempt.started_at.is_some());
        if started && job.state == JobState::Reserved {
            // A saga was cut off between the two: what ran counts as one used job.
            let report = Report {
                job: job.id.clone(),
                agent_id: job.agent_id.clone(),
                model: None,
                figures: Figures::default(),
                limits: Vec::new(),
                price: None,
                stop: None,
                expires_at: job.expires_at,
                now,
            };
            ports.allowances.report(report).await?;
        }
        let recorded = attempt.and_then(|attempt| attempt.outcome);
        // Of what nobody admitted nobody knows that it failed: only who reported it can say so.
        let unknown = if job.unadmitted { JobOutcome::Released } else { JobOutcome::Failed };
        let outcome = recorded.map_or(unknown, AttemptOutcome::job_outcome);
        ports.allowances.settle(Settle { job: job.id.clone(), outcome, now }).await?;
        Ok(true)
    }

    async fn prune(&self, now: Timestamp) -> Result<()> {
        {
            let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
            if memory.pruned_at.is_some_and(|at| now.since(at) < PRUNE_EVERY) {
                return Ok(());
            }
        }
        let (ports, policy) = (self.fleet.ports(), self.fleet.policy());
        for _ in 0..STEP.1 {
            let tasks = ports.tasks.prune(now.minus(policy.keep_tasks), STEP.0, now).await?;
            let mut events = ports.events.trim(now.minus(policy.keep_events), STEP.0).await?;
            for outbox in self.fleet.outboxes() {
                events = events.max(outbox.trim(now, STEP.0).await?);
            }
            if tasks.max(events) < STEP.0 {
                self.memory.lock().unwrap_or_else(PoisonError::into_inner).pruned_at = Some(now);
                break;
            }
        }
        Ok(())
    }
}
