//! What cases are given: instants, ids, and requests with what does not matter filled in.
#![expect(clippy::missing_panics_doc, reason = "a case fails by panicking")]

use std::{fmt::Debug, str::FromStr, time::Duration};

use agentic_core::{
    agent::AgentSpec,
    amount::Amount,
    attempt::{Ending, Next},
    clock::Timestamp,
    id::JobId,
    job::JobOutcome,
    limit::{Limit, Meter, Scope, Window},
    port::{
        Admission, Assign, Beat, BeatAttempt, Claim, CreateMany, EndAttempt, Extend, Finish, Heartbeat,
        Register, Replan, Report, Settle, StartJob,
    },
    task::{NewTask, TaskResult},
    usage::Figures,
};

/// The lease of every claim that does not say otherwise.
pub const LEASE: Duration = Duration::from_mins(1);

/// 2026-03-01T12:00:00Z in milliseconds: noon, so that cases choose when midnight comes.
const NOON: i64 = 1_772_366_400_000;

/// The instant `secs` seconds after noon of the day on which all cases play.
pub fn t(secs: i64) -> Timestamp {
    Timestamp::from_millis(NOON + secs * 1_000)
}

/// The first midnight after [`t`]`(0)`, in its seconds.
pub const MIDNIGHT: i64 = 43_200;

/// Parses an id of any kind, which must be valid.
pub fn id<T: FromStr<Err: Debug>>(text: &str) -> T {
    text.parse().expect("ids in cases are valid")
}

/// A number as an amount.
pub fn n(value: u32) -> Amount {
    value.into()
}

/// Names an attempt.
pub fn job(task: &str, attempt: u32) -> JobId {
    JobId::new(id(task), attempt)
}

/// A task with the defaults.
pub fn task(task: &str) -> NewTask {
    NewTask::new(id(task), format!("do {task}"))
}

/// A task that waits for others.
pub fn after(waits: &str, dependencies: &[&str]) -> NewTask {
    NewTask { dependencies: dependencies.iter().map(|text| id(text)).collect(), ..task(waits) }
}

/// Creates tasks.
pub fn create(tasks: Vec<NewTask>, now: Timestamp) -> CreateMany {
    CreateMany::new(tasks, now)
}

/// Registers an agent without bounds.
pub fn register(agent: &str, now: Timestamp) -> Register {
    Register { agent: AgentSpec::new(id(agent)), now }
}

/// Says that an agent lives.
pub fn heartbeat(agent: &str, incarnation: Option<u64>, now: Timestamp) -> Heartbeat {
    Heartbeat { agent_id: id(agent), incarnation, now }
}

/// A claim for one [`LEASE`] by an agent that takes the task itself.
pub fn claim(job: &JobId, agent: &str, now: Timestamp) -> Claim {
    Claim {
        job: job.clone(),
        agent_id: id(agent),
        incarnation: None,
        lease: LEASE,
        expires_at: now.plus(LEASE),
        deadline: None,
        dispatched: false,
        now,
    }
}

/// An admission without limits that asks for nothing, for one [`LEASE`].
pub fn admission(job: &JobId, agent: &str, now: Timestamp) -> Admission {
    Admission {
        job: job.clone(),
        id: format!("admission of {job}"),
        agent_id: id(agent),
        model: None,
        project: None,
        task_created_at: None,
        price: None,
        limits: Vec::new(),
        ask: Amount::ZERO,
        expires_at: now.plus(LEASE),
        now,
    }
}

/// The same admission for model `m` under limits, asking for tokens.
#[must_use]
pub fn asking(admission: Admission, limits: &[Limit], ask: u32) -> Admission {
    Admission { model: Some(id("m")), limits: limits.to_vec(), ask: n(ask), ..admission }
}

/// [`claim`] and [`admission`] together.
pub fn assign(job: &JobId, agent: &str, now: Timestamp) -> Assign {
    Assign { claim: claim(job, agent, now), admission: admission(job, agent, now) }
}

/// The same assignment for model `m` under limits, asking for tokens.
#[must_use]
pub fn limited(assign: Assign, limits: &[Limit], ask: u32) -> Assign {
    Assign { admission: asking(assign.admission, limits, ask), ..assign }
}

/// The same assignment given by a dispatcher to one start of the agent, so that it does not start by itself.
#[must_use]
pub fn dispatched(assign: Assign, incarnation: u64) -> Assign {
    let claim = Claim { dispatched: true, incarnation: Some(incarnation), ..assign.claim };
    Assign { claim, ..assign }
}

/// Cumulative tokens.
pub fn figures(tokens_in: u32, tokens_out: u32) -> Figures {
    Figures { tokens_in: n(tokens_in), tokens_out: n(tokens_out), ..Figures::default() }
}

/// A report of cumulative tokens for the job's own model.
pub fn report(job: &JobId, agent: &str, figures: Figures, now: Timestamp) -> Report {
    Report {
        job: job.clone(),
        agent_id: id(agent),
        model: None,
        figures,
        limits: Vec::new(),
        price: None,
        stop: None,
        expires_at: now.plus(LEASE),
        now,
    }
}

/// Starts a job.
pub fn start_job(job: &JobId, now: Timestamp) -> StartJob {
    StartJob { job: job.clone(), now }
}

/// Lets a reservation hold one more [`LEASE`].
pub fn extend(job: &JobId, now: Timestamp) -> Extend {
    Extend { job: job.clone(), expires_at: now.plus(LEASE), now }
}

/// Holds a job against other limits.
pub fn replan(job: &JobId, limits: &[Limit], now: Timestamp) -> Replan {
    Replan { job: job.clone(), limits: limits.to_vec(), now }
}

/// Settles a job.
pub fn settle(job: &JobId, outcome: JobOutcome, now: Timestamp) -> Settle {
    Settle { job: job.clone(), outcome, now }
}

/// A heartbeat with attempts and what they used.
pub fn beat(agent: &str, attempts: &[(&JobId, Option<Figures>)], now: Timestamp) -> Beat {
    let attempts = attempts
        .iter()
        .map(|(job, figures)| BeatAttempt { job: (*job).clone(), figures: *figures })
        .collect();
    Beat { agent_id: id(agent), incarnation: None, attempts, now }
}

/// The work is done.
pub fn done(output: &str) -> Ending {
    Ending::Completed(TaskResult { success: true, output: output.to_owned(), ..TaskResult::default() })
}

/// The attempt failed; another follows at `at`.
pub fn failed_until(at: Timestamp) -> Ending {
    Ending::Failed { error: "it broke".to_owned(), next: Next::RetryAt(at) }
}

/// The attempt failed; none follows.
pub fn failed_for_good() -> Ending {
    Ending::Failed { error: "it broke".to_owned(), next: Next::DeadLetter }
}

/// The lease ran out; another attempt follows at `at`.
pub fn expired_until(at: Timestamp) -> Ending {
    Ending::Expired { next: Some(Next::RetryAt(at)) }
}

/// The attempt is given back.
pub fn released() -> Ending {
    Ending::Released { reason: "drained".to_owned() }
}

/// Ends an attempt as its holder.
pub fn end(job: &JobId, agent: &str, ending: Ending, now: Timestamp) -> EndAttempt {
    EndAttempt { task: job.task.clone(), attempt: Some(job.attempt), agent_id: Some(id(agent)), ending, now }
}

/// Ends an attempt as a sweep does.
pub fn swept(job: &JobId, ending: Ending, now: Timestamp) -> EndAttempt {
    EndAttempt { task: job.task.clone(), attempt: Some(job.attempt), agent_id: None, ending, now }
}

/// Ends an attempt and settles its job.
pub fn finish(end: EndAttempt, figures: Option<Figures>) -> Finish {
    Finish { end, figures }
}

/// A limit with a cap.
pub fn limit(scope: Scope, meter: Meter, window: Window, cap: u32) -> Limit {
    Limit::new(scope, meter, window, Some(n(cap)))
}

/// An agent's tokens a day.
pub fn daily_tokens(agent: &str, cap: u32) -> Limit {
    limit(Scope::Agent(id(agent)), Meter::Tokens, Window::Day, cap)
}

/// An agent's jobs a day.
pub fn daily_jobs(agent: &str, cap: u32) -> Limit {
    limit(Scope::Agent(id(agent)), Meter::Jobs, Window::Day, cap)
}

/// An agent's jobs at once.
pub fn concurrent(agent: &str, cap: u32) -> Limit {
    limit(Scope::Agent(id(agent)), Meter::ActiveJobs, Window::Live, cap)
}

/// A model's tokens a day, over all agents.
pub fn model_tokens(model: &str, cap: u32) -> Limit {
    limit(Scope::Model(id(model)), Meter::Tokens, Window::Day, cap)
}

/// A model's requests in the last hour, over all agents.
pub fn hourly_requests(model: &str, cap: u32) -> Limit {
    limit(Scope::Model(id(model)), Meter::Requests, Window::HOUR, cap)
}

/// A model's spend in total, in micro-dollars.
pub fn spend(model: &str, cap: u32) -> Limit {
    limit(Scope::Model(id(model)), Meter::Cost, Window::Lifetime, cap)
}
