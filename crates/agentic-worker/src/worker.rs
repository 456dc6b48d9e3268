//! The worker: one agent, its heartbeats, its assignments and its running attempts.

use std::{
    collections::{HashMap, HashSet},
    fmt, future,
    sync::Arc,
    time::Duration,
};

use agentic_core::{
    agent::AgentInfo,
    api::{HeartbeatAnswer, HeartbeatBody, ReleaseTask, RunningAttempt},
    error::{ConflictCode, Error, Kind, Result},
    id::{AgentId, JobId},
    task::Task,
    usage::Figures,
};
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinError, JoinSet},
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::{
    api::{Api, CALL, bounded, pauses, worth_retrying},
    attempt::{Attempt, Outcome, PARTING},
    config::WorkerConfig,
    order::{Lease, Order, Orders, after},
    report::Standing,
};

/// A request for assignments that brings nothing new sooner than this is not repeated at once.
const SOON: Duration = Duration::from_secs(1);
/// Heartbeats are never closer than this, however short a lease is.
const SHORTEST_BEAT: Duration = Duration::from_millis(250);

/// Why a worker ended before it was told to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// Its configuration cannot work.
    #[error("the worker's configuration is invalid")]
    Config(#[source] Error),
    /// The server will not register its agent, and would not later either.
    #[error("the server refuses to register agent {agent}")]
    Refused {
        /// The agent.
        agent: AgentId,
        /// Why.
        source: Error,
    },
    /// The agent was started anew elsewhere; everything that ran here was ended.
    #[error("agent {0} was started anew elsewhere, so this worker has ended")]
    Superseded(AgentId),
}

/// How the attempts of a worker ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WorkerReport {
    /// Done.
    pub completed: u64,
    /// Failed.
    pub failed: u64,
    /// Given back unburnt.
    pub released: u64,
    /// Lost, called off, or never taken by the server.
    pub lost: u64,
}

/// Runs one agent.
#[derive(Debug)]
pub struct Worker {
    api: Arc<dyn Api>,
    config: Arc<WorkerConfig>,
}

impl Worker {
    /// A worker that has done nothing yet.
    ///
    /// # Errors
    /// [`WorkerError::Config`].
    pub fn new(api: impl Api, config: WorkerConfig) -> Result<Self, WorkerError> {
        config.validate().map_err(WorkerError::Config)?;
        Ok(Self { api: Arc::new(api), config: Arc::new(config) })
    }

    /// Registers the agent and works until `drain` is cancelled; then takes no more work, gives running attempts
    /// [`WorkerConfig::drain_grace`] to end, gives back the rest unburnt, and returns. When `now` is cancelled, running
    /// attempts are killed and given back at once.
    ///
    /// A server that is away is waited for. Dropping the future kills every tree.
    ///
    /// # Errors
    /// [`WorkerError::Refused`], [`WorkerError::Superseded`].
    pub async fn run(
        self,
        drain: CancellationToken,
        now: CancellationToken,
    ) -> Result<WorkerReport, WorkerError> {
        let mut floor = Floor::new(self);
        let result = floor.work(&drain, &now).await;
        floor.close().await;
        result.map(|()| floor.report)
    }
}

/// A kind of call of which one at a time is made.
struct Slot {
    busy: bool,
    at: Instant,
    pauses: Box<dyn Iterator<Item = Duration> + Send>,
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("busy", &self.busy).field("at", &self.at).finish_non_exhaustive()
    }
}

impl Slot {
    fn new() -> Self {
        Self { busy: false, at: Instant::now(), pauses: Box::new(pauses()) }
    }

    /// Returns when the next call is due; never while one is under way.
    fn due(&self) -> impl Future<Output = ()> + use<> {
        let (busy, at) = (self.busy, self.at);
        async move { if busy { future::pending().await } else { sleep_until(at).await } }
    }

    fn begin(&mut self) {
        self.busy = true;
    }

    fn succeeded(&mut self, next: Instant) {
        *self = Self { at: next, ..Self::new() };
    }

    fn failed(&mut self, longest: Duration) {
        self.busy = false;
        self.at = Instant::now() + self.pauses.next().unwrap_or(longest).min(longest);
    }
}

/// What came of a call; those of an earlier registration are ignored.
#[derive(Debug)]
enum Answer {
    Registered(Result<AgentInfo>),
    Beat { incarnation: u64, sent: Instant, answer: Result<HeartbeatAnswer> },
    Assigned { incarnation: u64, sent: Instant, answer: Result<Vec<Task>> },
    Parted,
}

/// An attempt that runs, seen by its worker.
#[derive(Debug)]
struct Running {
    orders: Arc<watch::Sender<Orders>>,
    standing: watch::Receiver<Standing>,
    handle: AbortHandle,
}

impl Running {
    /// Whether the server knows that the attempt has started, so that it is not assigned once more.
    fn is_known(&self) -> bool {
        let orders = self.orders.borrow();
        orders.lease.is_some() || orders.order.is_final()
    }
}

/// Everything that a worker holds while it works.
#[derive(Debug)]
struct Floor {
    api: Arc<dyn Api>,
    config: Arc<WorkerConfig>,
    /// Which start of the agent this is; absent = not registered.
    incarnation: Option<u64>,
    running: HashMap<JobId, Running>,
    attempts: JoinSet<Outcome>,
    calls: JoinSet<Answer>,
    register: Slot,
    beat: Slot,
    poll: Slot,
    parting: bool,
    leave_by: Option<Instant>,
    at_once: bool,
    report: WorkerReport,
}

impl Floor {
    fn new(worker: Worker) -> Self {
        Self {
            api: worker.api,
            config: worker.config,
            incarnation: None,
            running: HashMap::new(),
            attempts: JoinSet::new(),
            calls: JoinSet::new(),
            register: Slot::new(),
            beat: Slot::new(),
            poll: Slot::new(),
            parting: false,
            leave_by: None,
            at_once: false,
            report: WorkerReport::default(),
        }
    }

    async fn work(&mut self, drain: &CancellationToken, now: &CancellationToken) -> Result<(), WorkerError> {
        while !self.is_done() {
            tokio::select! {
                () = drain.cancelled(), if self.leave_by.is_none() => self.leave(self.config.drain_grace),
                () = now.cancelled(), if !self.at_once => {
                    self.at_once = true;
                    self.leave(Duration::ZERO);
                }
                () = self.register.due(), if self.incarnation.is_none() && self.leave_by.is_none() => self.register(),
                () = self.beat.due(), if self.incarnation.is_some() => self.beat(),
                () = self.poll.due(), if self.has_room() => self.poll(),
                Some(answer) = self.calls.join_next() => self.answered(answer)?,
                Some(outcome) = self.attempts.join_next() => self.ended(outcome),
            }
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.leave_by.is_some() && self.attempts.is_empty() && (self.at_once || !self.parting)
    }

    /// Takes no more work, and lets what runs know until when it may.
    fn leave(&mut self, grace: Duration) {
        let leave_by = after(Instant::now(), grace);
        tracing::info!(?grace, running = self.running.len(), "leaving");
        self.leave_by = Some(leave_by);
        for running in self.running.values() {
            running.orders.send_modify(|orders| {
                orders.leave_by = Some(leave_by);
                orders.at_once = self.at_once;
            });
        }
        if let Some(incarnation) = self.incarnation
            && !self.parting
        {
            self.parting = true;
            let (api, agent) = (self.api.clone(), self.config.agent.id.clone());
            let known = self.running.keys().cloned().collect();
            self.calls.spawn(async move {
                let part = part(&*api, &agent, incarnation, known);
                if timeout_at(after(leave_by, PARTING), part).await.is_err() {
                    tracing::warn!(%agent, "the server was not told that the agent drains");
                }
                Answer::Parted
            });
        }
    }

    fn register(&mut self) {
        self.register.begin();
        let (api, spec) = (self.api.clone(), self.config.agent.clone().into());
        self.calls.spawn(async move { Answer::Registered(bounded(CALL, api.register_agent(&spec)).await) });
    }

    fn beat(&mut self) {
        let Some(incarnation) = self.incarnation else { return };
        self.beat.begin();
        let attempts = self.running.iter().map(|(job, running)| RunningAttempt {
            task_id: job.task.clone(),
            attempt: job.attempt,
            usage: Some(running.standing.borrow().figures).filter(|figures| *figures != Figures::default()),
        });
        let body = HeartbeatBody { incarnation: Some(incarnation), attempts: attempts.collect() };
        let (api, agent) = (self.api.clone(), self.config.agent.id.clone());
        // A heartbeat that is not answered before the next is due is better asked anew.
        let limit = self.config.heartbeat.clamp(Duration::from_secs(1), CALL);
        let sent = Instant::now();
        // Due again at once when an attempt is taken on meanwhile: see `Floor::take`.
        self.beat.at = after(sent, self.config.heartbeat);
        self.calls.spawn(async move {
            let answer = bounded(limit, api.heartbeat(&agent, &body)).await;
            Answer::Beat { incarnation, sent, answer }
        });
    }

    /// Whether more work is wanted. An attempt that the server may not know to have started would come back at once.
    fn has_room(&self) -> bool {
        self.incarnation.is_some()
            && self.leave_by.is_none()
            && self.running.len() < self.config.max_load()
            && self.running.values().all(Running::is_known)
    }

    fn poll(&mut self) {
        let Some(incarnation) = self.incarnation else { return };
        self.poll.begin();
        let (api, agent, wait) = (self.api.clone(), self.config.agent.id.clone(), self.config.poll);
        let sent = Instant::now();
        self.calls.spawn(async move {
            let call = api.assignments(&agent, incarnation, wait);
            Answer::Assigned { incarnation, sent, answer: bounded(wait.saturating_add(CALL), call).await }
        });
    }

    fn answered(&mut self, answer: Result<Answer, JoinError>) -> Result<(), WorkerError> {
        let Ok(answer) =
            answer.inspect_err(|error| tracing::error!(%error, "a call to the server ended badly"))
        else {
            // Which one is not known: make them all anew.
            (self.register, self.beat, self.poll) = (Slot::new(), Slot::new(), Slot::new());
            self.parting = false;
            return Ok(());
        };
        match answer {
            Answer::Registered(answer) => self.registered(answer),
            Answer::Beat { incarnation, sent, answer } if self.incarnation == Some(incarnation) => {
                self.beaten(sent, answer)
            }
            Answer::Assigned { incarnation, sent, answer } if self.incarnation == Some(incarnation) => {
                self.assigned(sent, answer)
            }
            // Of an earlier registration; the slots were made anew since.
            Answer::Beat { .. } | Answer::Assigned { .. } => Ok(()),
            Answer::Parted => {
                self.parting = false;
                Ok(())
            }
        }
    }

    fn registered(&mut self, answer: Result<AgentInfo>) -> Result<(), WorkerError> {
        let agent = self.config.agent.id.clone();
        match answer {
            Ok(info) => {
                tracing::info!(%agent, incarnation = info.incarnation, "registered");
                self.incarnation = Some(info.incarnation);
                (self.register, self.beat, self.poll) = (Slot::new(), Slot::new(), Slot::new());
                Ok(())
            }
            Err(error) if worth_retrying(&error) => {
                tracing::warn!(%agent, %error, "could not register; trying again");
                self.register.failed(CALL);
                Ok(())
            }
            Err(source) => Err(WorkerError::Refused { agent, source }),
        }
    }

    fn beaten(&mut self, sent: Instant, answer: Result<HeartbeatAnswer>) -> Result<(), WorkerError> {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                self.refused("heartbeat", &error)?;
                let next = self.beat.at;
                self.beat.failed(self.config.heartbeat);
                self.beat.at = self.beat.at.min(next);
                return Ok(());
            }
        };
        // Three heartbeats a lease, also where the server's leases are shorter than this worker was told.
        let shortest = answer.directives.iter().filter_map(|told| told.lease_secs).min();
        let third = shortest.map(|secs| after(sent, (Duration::from_secs(secs) / 3).max(SHORTEST_BEAT)));
        let next = third.map_or(self.beat.at, |third| self.beat.at.min(third));
        self.beat.succeeded(next);
        for told in answer.directives {
            let Some(running) = self.running.get(&JobId::new(told.task_id, told.attempt)) else { continue };
            let reason = told.reason.as_deref();
            running.orders.send_modify(|orders| {
                orders.lease = told.lease_secs.map(|secs| Lease::new(sent, secs)).or(orders.lease);
                orders.remaining = told.remaining_tokens;
                orders.heed(Order::new(told.directive, reason), reason);
            });
        }
        Ok(())
    }

    fn assigned(&mut self, sent: Instant, answer: Result<Vec<Task>>) -> Result<(), WorkerError> {
        let tasks = match answer {
            Ok(tasks) => tasks,
            Err(error) => {
                self.refused("assignments", &error)?;
                self.poll.failed(CALL);
                return Ok(());
            }
        };
        let before = self.running.len();
        for task in tasks {
            let job = JobId::new(task.id, task.attempt);
            if self.has_capacity() && !self.running.contains_key(&job) {
                self.take(job);
            }
        }
        if self.running.len() > before || sent.elapsed() >= SOON {
            self.poll.succeeded(Instant::now());
        } else {
            self.poll.failed(SOON);
        }
        Ok(())
    }

    /// What is left out is assigned still, and comes with the next poll; a draining worker gives it back.
    fn has_capacity(&self) -> bool {
        self.leave_by.is_none() && self.running.len() < self.config.max_load()
    }

    fn take(&mut self, job: JobId) {
        tracing::info!(%job, "assigned");
        let orders = Arc::new(watch::Sender::new(Orders::default()));
        let (standing, receiver) = watch::channel(Standing::default());
        let attempt = Attempt {
            api: self.api.clone(),
            config: self.config.clone(),
            job: job.clone(),
            orders: orders.clone(),
            standing,
        };
        let handle = self.attempts.spawn(attempt.run());
        self.running.insert(job, Running { orders, standing: receiver, handle });
        // The heartbeat brings the lease to run under.
        self.beat.at = Instant::now();
    }

    fn ended(&mut self, outcome: Result<Outcome, JoinError>) {
        let outcome = outcome.unwrap_or_else(|error| {
            tracing::error!(%error, "an attempt ended badly");
            Outcome::Lost
        });
        *match outcome {
            Outcome::Completed => &mut self.report.completed,
            Outcome::Failed => &mut self.report.failed,
            Outcome::Released => &mut self.report.released,
            Outcome::Lost => &mut self.report.lost,
        } += 1;
        self.running.retain(|_, running| !running.handle.is_finished());
        // What this worker cannot start, or is not let, may be assigned to it again.
        if outcome == Outcome::Lost && !self.poll.busy {
            self.poll.failed(CALL);
        }
    }

    /// What an error of the agent's own calls means: another start, none any more, or a try later.
    fn refused(&mut self, call: &str, error: &Error) -> Result<(), WorkerError> {
        let agent = &self.config.agent.id;
        tracing::warn!(%agent, %error, "the server did not take {call}");
        if error.is_conflict(ConflictCode::StaleIncarnation) {
            return Err(WorkerError::Superseded(agent.clone()));
        }
        if matches!(error, Error::NotFound { kind: Kind::Agent, .. }) {
            self.incarnation = None;
            self.register = Slot::new();
        }
        Ok(())
    }

    /// Ends what still runs.
    async fn close(&mut self) {
        for running in self.running.values() {
            running.orders.send_modify(|orders| {
                orders.at_once = true;
                orders.heed(Order::Abandon, Some("lease_lost"));
            });
        }
        let ended = async {
            while let Some(outcome) = self.attempts.join_next().await {
                self.ended(outcome);
            }
        };
        if timeout(2 * CALL, ended).await.is_err() {
            tracing::error!("attempts had to be dropped");
        }
    }
}

/// Asks for no more work, and gives back what was assigned and is not known here.
async fn part(api: &dyn Api, agent: &AgentId, incarnation: u64, known: HashSet<JobId>) {
    for pause in pauses() {
        match bounded(CALL, api.drain(agent)).await {
            Err(error) if worth_retrying(&error) => {
                tracing::warn!(%agent, %error, "could not drain; trying again");
                sleep(pause).await;
            }
            Err(error) => return tracing::warn!(%agent, %error, "the server does not drain the agent"),
            Ok(()) => break,
        }
    }
    let unstarted = bounded(CALL, api.assignments(agent, incarnation, Duration::ZERO)).await;
    for task in unstarted.unwrap_or_default() {
        if known.contains(&JobId::new(task.id.clone(), task.attempt)) {
            continue;
        }
        let reason = "the worker is leaving".to_owned();
        let release = ReleaseTask { reason, attempt: Some(task.attempt), ..ReleaseTask::default() };
        if let Err(error) = bounded(CALL, api.release_task(&task.id, &release)).await {
            tracing::warn!(task = %task.id, %error, "could not give back an attempt");
        }
    }
}
