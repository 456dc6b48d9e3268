//! The life of one attempt: start, run, settle.

use std::{ffi::OsString, io, process::ExitStatus, sync::Arc, time::Duration};

use agentic_core::{
    allowance::{UsageEvent, UsageReport},
    api::{CompleteTask, PatchTask, ReleaseTask},
    error::Result,
    id::JobId,
    task::{Task, TaskStatus},
    usage::Figures,
};
use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout},
};

use crate::{
    api::{Api, CALL, bounded, pauses, worth_retrying},
    config::WorkerConfig,
    files::{AttemptFiles, Control},
    order::{Lease, Order, Orders, after},
    process::{Launch, Process, describe},
    relay::{relay, usage_report},
    report::{ReportReader, Standing},
};

/// How often the report file is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// How long a killed command may take to be gone.
const UNKILLABLE: Duration = Duration::from_secs(10);
/// A silence shorter than this is no silence of the server.
const SILENCE: Duration = Duration::from_secs(2);
/// How long a worker that leaves goes on offering results to a server that is away.
pub(crate) const PARTING: Duration = Duration::from_secs(5);

/// How an attempt ended, as far as its worker knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The server took its result.
    Completed,
    /// The server took its failure.
    Failed,
    /// It was given back unburnt.
    Released,
    /// Its lease was lost, its task was called off, or the server would not take what it brought.
    Lost,
}

/// An attempt that this worker was assigned.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) api: Arc<dyn Api>,
    pub(crate) config: Arc<WorkerConfig>,
    pub(crate) job: JobId,
    /// What it is told; the worker and the relay write it.
    pub(crate) orders: Arc<watch::Sender<Orders>>,
    /// What its command has reported; heartbeats read it.
    pub(crate) standing: watch::Sender<Standing>,
}

/// What the server is to be told at the end.
#[derive(Debug)]
enum End {
    Complete(CompleteTask),
    Release(&'static str),
    /// Nothing but what was used: the attempt is not ours any more.
    Report(UsageEvent),
    Nothing,
}

/// Why a tree is ended that the server gave no order about.
#[derive(Debug, Clone, Copy)]
enum Cause {
    /// The worker leaves.
    Leaving,
    /// No heartbeat was answered for too long.
    Silence,
    /// Heartbeats were answered, and brought no longer lease: there is none to be had.
    TimeBound,
}

impl Attempt {
    pub(crate) async fn run(self) -> Outcome {
        let end = match self.start().await {
            Ok(task) => self.work(task).await,
            Err(end) => end,
        };
        let outcome = self.settle(end).await;
        tracing::info!(job = %self.job, ?outcome, "attempt over");
        outcome
    }

    /// Starts the attempt on the server, and waits for the lease to run under.
    async fn start(&self) -> std::result::Result<Task, End> {
        let mut orders = self.orders.subscribe();
        let patch = PatchTask {
            status: Some(TaskStatus::InProgress),
            attempt: Some(self.job.attempt),
            ..PatchTask::default()
        };
        let mut pauses = pauses();
        let task = loop {
            if let Some(end) = self.unstarted() {
                return Err(end);
            }
            match bounded(CALL, self.api.patch_task(&self.job.task, &patch)).await {
                Ok(task) => break task,
                Err(error) if worth_retrying(&error) => {
                    tracing::warn!(job = %self.job, %error, "could not start; trying again");
                }
                Err(error) => {
                    tracing::warn!(job = %self.job, %error, "the attempt is not ours to start");
                    return Err(End::Nothing);
                }
            }
            tokio::select! {
                () = sleep(pauses.next().unwrap_or(CALL)) => {}
                Ok(_) = orders.wait_for(|orders| orders.order.is_final() || orders.leave_by.is_some()) => {}
            }
        };
        let told = |orders: &Orders| {
            let holds = orders.lease.is_some_and(|lease| lease.until > Instant::now());
            holds || orders.order.is_final() || orders.leave_by.is_some()
        };
        let gone = orders.wait_for(told).await.is_err();
        match self.unstarted() {
            Some(end) => Err(end),
            None if gone => Err(End::Nothing),
            None => Ok(task),
        }
    }

    /// How an attempt ends that is told to before its command runs.
    fn unstarted(&self) -> Option<End> {
        let orders = self.orders.borrow();
        match orders.order {
            Order::Abandon => Some(End::Nothing),
            Order::Cancel => Some(End::Report(UsageEvent::JobCancelled)),
            Order::Stop => Some(End::Complete(self.failure(format!("stopped: {}", orders.reason), None))),
            Order::Run | Order::WrapUp => orders.leave_by.map(|_| End::Release("the worker is leaving")),
        }
    }

    /// Runs the command to its end.
    async fn work(&self, task: Task) -> End {
        let prepared = spawn_blocking(move || AttemptFiles::create(&task).map(|files| (task, files))).await;
        let (task, files) = match prepared.map_err(io::Error::other).flatten() {
            Ok(prepared) => prepared,
            Err(error) => return self.unable("make the attempt's files", &error),
        };
        let launch = Launch {
            command: &self.config.command,
            guard: self.config.guard.as_deref(),
            workdir: self.config.workdir.as_deref(),
            stdin: &files.task(),
            env: &self.environment(&task, &files),
        };
        let mut process = match Process::spawn(&launch) {
            Ok(process) => process,
            Err(error) => return self.unable("start the command", &error),
        };
        tracing::info!(job = %self.job, "attempt started");
        let mut report = ReportReader::new(files.report());
        let (agent, standing) = (&self.config.agent.id, self.standing.subscribe());
        let told = relay(&*self.api, agent, &self.job, &self.orders, standing);
        let ended = tokio::select! {
            ended = self.supervise(&mut process, &files, &mut report) => ended,
            never = told => match never {},
        };
        self.note(&mut report, true).await;
        let end = match ended {
            Ok((status, None)) => self.exited(status, &process),
            Ok((_, Some(cause))) => self.ended(cause, &process),
            Err(error) => self.unable("end the command", &error),
        };
        drop(process);
        // A command may have left much in there.
        if timeout(CALL, spawn_blocking(move || drop(files))).await.is_err() {
            tracing::warn!(job = %self.job, "removing the attempt's files takes long");
        }
        end
    }

    /// Watches the command until it has ended; answers with its status, and why it was asked to end, if
    /// it was.
    async fn supervise(
        &self,
        process: &mut Process,
        files: &AttemptFiles,
        report: &mut ReportReader,
    ) -> io::Result<(ExitStatus, Option<Cause>)> {
        let grace = self.config.grace;
        let mut receiver = self.orders.subscribe();
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut told, mut asked, mut killed) = (Control::default(), None, None);
        loop {
            let orders = receiver.borrow_and_update().clone();
            let now = Instant::now();
            let ask_at = orders.ask_at(now, grace);
            let must_end = ask_at.is_some_and(|at| at <= now);
            let control = orders.control(must_end);
            if control != told {
                if let Err(error) = files.tell(&control) {
                    tracing::warn!(job = %self.job, %error, "could not pass a directive on");
                }
                told = control;
            }
            if must_end && asked.is_none() {
                let cause = self.cause(&orders, now);
                let Orders { order, reason, .. } = &orders;
                tracing::info!(job = %self.job, ?order, reason, ?cause, "ending the tree");
                process.terminate();
                asked = Some((now, cause));
            }
            let kill_at = asked.map(|(asked, _)| orders.kill_at(asked, grace));
            if kill_at.is_some_and(|at| at <= now) && killed.is_none() {
                process.kill();
                killed = Some(now);
            }
            let wake = match killed {
                Some(at) if now >= after(at, UNKILLABLE) => return Err(io::ErrorKind::TimedOut.into()),
                Some(at) => Some(after(at, UNKILLABLE)),
                None => kill_at.or(ask_at),
            };
            tokio::select! {
                status = process.exited() => {
                    let status = status?;
                    process.finish().await;
                    return Ok((status, asked.map(|(_, cause)| cause)));
                }
                Ok(()) = receiver.changed() => {}
                () = sleep_until(wake.unwrap_or(now)), if wake.is_some() => {}
                _ = look.tick() => self.note(report, false).await,
            }
        }
    }

    /// Takes in what the command has reported.
    async fn note(&self, report: &mut ReportReader, last: bool) {
        let read = async { if last { report.finish().await } else { report.poll().await } };
        if let Ok(Err(error)) = timeout(CALL, read).await {
            tracing::debug!(job = %self.job, %error, "could not read the report");
        }
        if last && report.malformed() > 0 {
            tracing::warn!(job = %self.job, lines = report.malformed(), "lines of the report were ignored");
        }
        let latest = report.standing();
        if *self.standing.borrow() != *latest {
            self.standing.send_replace(latest.clone());
        }
    }

    /// What becomes of a command that ended by itself.
    fn exited(&self, status: ExitStatus, process: &Process) -> End {
        if !status.success() {
            let error = format!("the command {}\n{}", describe(status), process.stderr());
            return End::Complete(self.failure(error.trim_end().to_owned(), Some(process)));
        }
        let failure = self.failure(String::new(), Some(process));
        End::Complete(CompleteTask { success: true, error_message: None, resets_at: None, ..failure })
    }

    /// Why a tree is to be ended now, unless it was ordered.
    fn cause(&self, orders: &Orders, now: Instant) -> Cause {
        let silent = |lease: Lease| {
            let half = ((lease.until - lease.heard) / 2).max(SILENCE);
            now > after(lease.heard, half.min(2 * self.config.heartbeat))
        };
        if orders.leave_by.is_some_and(|at| at <= now) {
            Cause::Leaving
        } else if orders.lease.is_some_and(silent) {
            Cause::Silence
        } else {
            Cause::TimeBound
        }
    }

    /// What becomes of a command that was ended.
    fn ended(&self, cause: Cause, process: &Process) -> End {
        let orders = self.orders.borrow();
        let failure = |why: &str| End::Complete(self.failure(format!("stopped: {why}"), Some(process)));
        match (orders.order, cause) {
            (Order::Abandon, _) => End::Report(UsageEvent::JobFailed),
            (Order::Cancel, _) => End::Report(UsageEvent::JobCancelled),
            (Order::Stop, _) => failure(&orders.reason),
            (Order::Run | Order::WrapUp, Cause::Leaving) => End::Release("the worker is leaving"),
            (Order::Run | Order::WrapUp, Cause::Silence) => End::Release("the server was away for too long"),
            (Order::Run | Order::WrapUp, Cause::TimeBound) => failure("time_bound"),
        }
    }

    fn unable(&self, to: &str, error: &io::Error) -> End {
        tracing::error!(job = %self.job, %error, "could not {to}");
        End::Complete(self.failure(format!("the worker could not {to}: {error}"), None))
    }

    fn failure(&self, error: String, process: Option<&Process>) -> CompleteTask {
        CompleteTask {
            success: false,
            output: process.map(Process::stdout).unwrap_or_default(),
            artifacts: Vec::new(),
            error_message: Some(error),
            attempt: Some(self.job.attempt),
            usage: self.usage(),
            resets_at: self.standing.borrow().resets_at,
        }
    }

    /// Tells the server how it ended.
    async fn settle(&self, end: End) -> Outcome {
        let task = &self.job.task;
        match end {
            End::Complete(complete) => match self.offer(|| self.api.complete_task(task, &complete)).await {
                Some(_) if complete.success => Outcome::Completed,
                Some(_) => Outcome::Failed,
                None => Outcome::Lost,
            },
            End::Release(reason) => {
                let attempt = Some(self.job.attempt);
                let (usage, resets_at) = (self.usage(), self.standing.borrow().resets_at);
                let release = ReleaseTask { reason: reason.to_owned(), attempt, usage, resets_at };
                if self.offer(|| self.api.release_task(task, &release)).await.is_some() {
                    return Outcome::Released;
                }
                self.report(UsageEvent::JobFailed).await
            }
            End::Report(event) => self.report(event).await,
            End::Nothing => Outcome::Lost,
        }
    }

    /// Says what was used by an attempt that is over.
    async fn report(&self, event: UsageEvent) -> Outcome {
        let resets_at = self.standing.borrow().resets_at;
        // The last report of a cancelled job frees its place, whatever it used.
        if self.usage().is_some() || resets_at.is_some() || event == UsageEvent::JobCancelled {
            let figures = self.usage().unwrap_or_default();
            let report = usage_report(&self.config.agent.id, &self.job, figures, event);
            let report = UsageReport { resets_at, ..report };
            self.offer(|| self.api.report_usage(&report)).await;
        }
        Outcome::Lost
    }

    /// Makes a call until the server has answered it, for as long as that is worth it.
    async fn offer<T, F>(&self, call: impl Fn() -> F) -> Option<T>
    where
        F: Future<Output = Result<T>> + Send,
    {
        let mut orders = self.orders.subscribe();
        let began = Instant::now();
        let mut pauses = pauses();
        loop {
            match bounded(CALL, call()).await {
                Ok(answer) => return Some(answer),
                Err(error) if worth_retrying(&error) => {
                    tracing::warn!(job = %self.job, %error, "could not settle; trying again");
                }
                Err(error) => {
                    tracing::warn!(job = %self.job, %error, "the server does not take the attempt's end");
                    return None;
                }
            }
            let pause = pauses.next().unwrap_or(CALL);
            let (leave_by, at_once) = {
                let orders = orders.borrow();
                (orders.leave_by, orders.at_once)
            };
            let settled = after(began, self.config.settle);
            let until = leave_by.map_or(settled, |at| at.max(began + PARTING).min(settled));
            if at_once || Instant::now() + pause >= until {
                tracing::error!(job = %self.job, "gave up telling the server how the attempt ended");
                return None;
            }
            tokio::select! {
                () = sleep(pause) => {}
                Ok(_) = orders.wait_for(|orders| orders.at_once) => {}
            }
        }
    }

    /// What the command reported to have used, if anything.
    fn usage(&self) -> Option<Figures> {
        Some(self.standing.borrow().figures).filter(|figures| *figures != Figures::default())
    }

    fn environment(&self, task: &Task, files: &AttemptFiles) -> [(&'static str, OsString); 8] {
        [
            ("AGENTIC_TASK_FILE", files.task().into()),
            ("AGENTIC_TASK_ID", task.id.as_str().into()),
            ("AGENTIC_TASK_TITLE", task.title.as_str().into()),
            ("AGENTIC_ATTEMPT", self.job.attempt.to_string().into()),
            ("AGENTIC_AGENT_ID", self.config.agent.id.as_str().into()),
            ("AGENTIC_BASE_URL", self.config.base_url.as_str().into()),
            ("AGENTIC_REPORT_FILE", files.report().into()),
            ("AGENTIC_CONTROL_FILE", files.control().into()),
        ]
    }
}
