//! A process that dies between any two steps of a transition, and what is left of it.

use std::{
    io::{Write, stdout},
    os::unix::process::ExitStatusExt,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use agentic_core::{
    amount::Amount,
    clock::ManualClock,
    error::Error,
    id::{AgentId, JobId},
    job::{Job, JobOutcome, JobState},
    limit::{Limit, Reading},
    memory::Memory,
    port::{Ports, StartAttempt},
    task::{NewTask, Task, TaskStatus},
};
use agentic_dispatch::{Fleet, Policy, Saga};
use agentic_testkit::{
    given::{
        assign, beat, concurrent, create, daily_jobs, daily_tokens, dispatched, done, end, failed_until,
        figures, finish, hourly_requests, id, job, limited, model_tokens, register, spend, t, task,
    },
    invariants,
};
use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;

use crate::{
    child::Point,
    place::{Address, Backend, Place},
};

/// The most points that one step may have; more would mean that a process never comes to its end.
const MOST: u64 = 400;
/// Tokens that the job asks for: with one of them alive, there is no room for another.
const ASK: u32 = 600;

/// Where the processes die.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// Only where tasks and allowances live so.
    #[arg(long, value_enum)]
    layout: Option<Layout>,
}

/// Where tasks and allowances live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Layout {
    /// Both in one SQLite file; dies between statements.
    Sqlite,
    /// Both in one Redis; a script is one step, so it dies before and after it.
    Redis,
    /// In two SQLite files; dies between statements.
    SqliteSqlite,
    /// Tasks in SQLite, allowances in Redis; dies between calls.
    SqliteRedis,
    /// Tasks in Redis, allowances in SQLite; dies between calls.
    RedisSqlite,
}

impl Layout {
    fn parts(self) -> (Backend, Option<Backend>, Point) {
        match self {
            Self::Sqlite => (Backend::Sqlite, None, Point::Statement),
            Self::Redis => (Backend::Redis, None, Point::Call),
            Self::SqliteSqlite => (Backend::Sqlite, Some(Backend::Sqlite), Point::Statement),
            Self::SqliteRedis => (Backend::Sqlite, Some(Backend::Redis), Point::Call),
            Self::RedisSqlite => (Backend::Redis, Some(Backend::Sqlite), Point::Call),
        }
    }
}

/// A transition of the ledger; each comes after those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Step {
    Assign,
    Start,
    Beat,
    Complete,
    /// Instead of completing.
    Fail,
}

impl Step {
    /// The steps that come before it.
    fn before(self) -> &'static [Self] {
        match self {
            Self::Assign => &[],
            Self::Start => &[Self::Assign],
            Self::Beat => &[Self::Assign, Self::Start],
            Self::Complete | Self::Fail => &[Self::Assign, Self::Start, Self::Beat],
        }
    }

    /// The steps that come after it.
    fn after(self) -> &'static [Self] {
        match self {
            Self::Assign => &[Self::Start, Self::Beat, Self::Complete],
            Self::Start => &[Self::Beat, Self::Complete],
            Self::Beat => &[Self::Complete],
            Self::Complete | Self::Fail => &[],
        }
    }
}

/// Who carries on after the death.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heir {
    /// The caller, started anew, says the same again.
    Caller,
    /// Nobody: the lease runs out, and the reaper comes by.
    Reaper,
}

/// The one job.
fn the_job() -> JobId {
    job("t", 1)
}

/// Every kind of limit; under most of them one job is all that fits.
fn limits() -> Vec<Limit> {
    vec![
        hourly_requests("m", 2),
        daily_tokens("w", 1_200),
        daily_jobs("w", 2),
        concurrent("w", 1),
        model_tokens("m", 1_200),
        spend("m", 1_000_000),
    ]
}

/// One ledger over both sides.
pub(crate) fn compose(tasks: Ports, allowances: Option<Ports>) -> Ports {
    match allowances {
        None => tasks,
        Some(other) => {
            let apart = Ports { allowances: other.allowances, ..tasks };
            Ports { ledger: Arc::new(Saga::new(apart.clone())), ..apart }
        }
    }
}

/// Does one step, at its own time; one that was done before is done.
pub(crate) async fn perform(ports: &Ports, step: Step) -> Result<()> {
    let the_job = the_job();
    let done = match step {
        Step::Assign => {
            let mut assign = dispatched(limited(assign(&the_job, "w", t(0)), &limits(), ASK), 1);
            assign.admission.price =
                Some(agentic_core::allowance::Price::flat(3_000_000_u32.into(), 15_000_000_u32.into()));
            ports.ledger.assign(assign).await.map(drop)
        }
        Step::Start => {
            let agent_id: Option<AgentId> = Some(id("w"));
            let start = StartAttempt { job: the_job, agent_id, incarnation: Some(1), now: t(1) };
            ports.ledger.start(start).await.map(drop)
        }
        Step::Beat => {
            let beats = ports.ledger.beat(beat("w", &[(&the_job, Some(figures(200, 51)))], t(2))).await;
            beats.map(drop)
        }
        Step::Complete => {
            let end = end(&the_job, "w", done("well"), t(3));
            ports.ledger.finish(finish(end, Some(figures(300, 61)))).await.map(drop)
        }
        Step::Fail => {
            let end = end(&the_job, "w", failed_until(t(10)), t(3));
            ports.ledger.finish(finish(end, Some(figures(300, 61)))).await.map(drop)
        }
    };
    match done {
        Err(Error::Conflict { .. }) if step == Step::Assign => Ok(()),
        other => Ok(other?),
    }
}

async fn prepare(ports: &Ports, step: Step) -> Result<()> {
    let new = NewTask { model: Some(id("m")), ..task("t") };
    ports.tasks.create_many(create(vec![new], t(0))).await?;
    ports.agents.register(register("w", t(0))).await?;
    for before in step.before() {
        perform(ports, *before).await?;
    }
    Ok(())
}

/// What everybody can see of it in the end.
#[derive(Debug, PartialEq)]
struct Outcome {
    status: TaskStatus,
    attempt: u32,
    retries: u32,
    job: Option<(JobState, Option<JobOutcome>, Amount)>,
    readings: Vec<Reading>,
}

async fn outcome(ports: &Ports) -> Result<Outcome> {
    let keys: Vec<_> = limits().into_iter().map(|limit| limit.key).collect();
    let task = the_task(ports).await?;
    let job = ports.allowances.job(&the_job()).await?;
    Ok(Outcome {
        status: task.status,
        attempt: task.attempt,
        retries: task.retry_count,
        job: job.map(|job| (job.state, job.outcome, job.gross())),
        readings: ports.allowances.readings(&keys, t(4)).await?,
    })
}

async fn the_task(ports: &Ports) -> Result<Task> {
    Ok(ports.tasks.get(&id("t"), t(4)).await?)
}

/// What a caller that never dies comes to.
async fn undisturbed(step: Step) -> Result<Outcome> {
    let ports = Memory::new().ports();
    prepare(&ports, step).await?;
    for step in [step].iter().chain(step.after()) {
        perform(&ports, *step).await?;
    }
    outcome(&ports).await
}

/// Kills processes at every point of every step; the first that leaves something wrong behind is an error.
pub(crate) async fn run(args: &Args, redis: Option<&str>) -> Result<()> {
    for layout in Layout::value_variants() {
        if args.layout.is_some_and(|only| only != *layout) {
            continue;
        }
        let (tasks, allowances, point) = layout.parts();
        let places = (Place::new(tasks, redis).await?, Place::new(allowances.unwrap_or(tasks), redis).await?);
        let mut points = Vec::new();
        for step in Step::value_variants() {
            let mut killed = 0;
            for heir in [Heir::Caller, Heir::Reaper] {
                killed = 0;
                for at in 1..=MOST {
                    let name = format!("{step:?}-{heir:?}-{at}");
                    let apart = allowances.is_some().then(|| places.1.fresh(&format!("{name}-apart")));
                    let crash = Crash { step: *step, heir, point, at, tasks: places.0.fresh(&name), apart };
                    if !crash.check().await.with_context(|| format!("{layout:?}, {name}"))? {
                        break;
                    }
                    killed = at;
                }
                ensure!((1..MOST).contains(&killed), "{layout:?}, {step:?}: {killed} points");
            }
            points.push(format!("{step:?} {killed}"));
        }
        writeln!(
            stdout(),
            "{layout:?}: killed between any two {point:?}s, each with the caller back and with nobody back: {}; \
             nothing leaked, nothing was charged twice",
            points.join(", ")
        )?;
    }
    Ok(())
}

/// One death.
#[derive(Debug)]
struct Crash {
    step: Step,
    heir: Heir,
    point: Point,
    at: u64,
    tasks: Address,
    apart: Option<Address>,
}

impl Crash {
    async fn open(&self) -> Result<Ports> {
        let apart = match &self.apart {
            Some(address) => Some(address.open(None).await?),
            None => None,
        };
        Ok(compose(self.tasks.open(None).await?, apart))
    }

    /// Lets a process die, and looks at what follows; `false` when there is no such point.
    async fn check(&self) -> Result<bool> {
        prepare(&self.open().await?, self.step).await?;
        let died = self.die()?;
        let ports = self.open().await?;
        if self.apart.is_none() {
            // One transaction: there is nothing in between to see.
            sound(&ports).await?;
        }
        match self.heir {
            Heir::Caller => {
                for step in [self.step].iter().chain(self.step.after()) {
                    perform(&ports, *step).await?;
                }
                let (found, wanted) = (outcome(&ports).await?, undisturbed(self.step).await?);
                ensure!(found == wanted, "it came to {found:#?}, undisturbed to {wanted:#?}");
            }
            Heir::Reaper => self.reap(&ports).await?,
        }
        sound(&ports).await?;
        Ok(died)
    }

    /// Runs the step in a process that dies at the point; `false` when it came to its end.
    fn die(&self) -> Result<bool> {
        let name = |value: &dyn Fn() -> Option<clap::builder::PossibleValue>| {
            value().map(|value| value.get_name().to_owned()).unwrap_or_default()
        };
        let mut child = Command::new(std::env::current_exe()?);
        child.args(["child", "step", &name(&|| self.step.to_possible_value())]);
        child.args([name(&|| self.point.to_possible_value()), self.at.to_string(), self.tasks.to_string()]);
        child.args(self.apart.iter().map(ToString::to_string));
        let status = child.stdin(Stdio::null()).status()?;
        match status.signal() {
            Some(9) => Ok(true),
            None if status.success() => Ok(false),
            _ => bail!("the process ended with {status}"),
        }
    }

    /// Nobody comes back: within two leases everything is settled, and the task can be done by another attempt.
    async fn reap(&self, ports: &Ports) -> Result<()> {
        let policy = Policy::default();
        let clock = Arc::new(ManualClock::at(t(4)));
        let fleet = Fleet::new(ports.clone(), Arc::clone(&clock) as _, policy.clone())?;
        let reaper = fleet.reaper();
        reaper.sweep().await?;
        // Whoever is reaped by an outage's rule waits one lease more.
        for _ in 0..20 {
            clock.advance(policy.lease / 6);
            reaper.sweep().await?;
        }
        let now = fleet.now();
        let job = ports.allowances.job(&the_job()).await?;
        let keys: Vec<_> = limits().into_iter().map(|limit| limit.key).collect();
        let readings = ports.allowances.readings(&keys, now).await?;
        let [requests, tokens, jobs, places, of_model, _] = readings.as_slice() else {
            bail!("six were asked for")
        };
        for (key, reading) in keys.iter().zip(&readings) {
            ensure!(reading.reserved.is_zero(), "{key} leaks {}: {job:?}", reading.reserved);
        }
        let kept = job.as_ref().map_or(Amount::ZERO, kept);
        ensure!(
            tokens.used == kept && of_model.used == kept,
            "{} tokens stand for {kept}: {job:?}",
            tokens.used
        );
        let started = job.as_ref().is_some_and(|job| job.started_at.is_some());
        let one = if started { Amount::ONE } else { Amount::ZERO };
        ensure!(jobs.used == one && requests.used == one, "{} jobs stand for {one}: {job:?}", jobs.used);
        ensure!(places.used.is_zero(), "places are never used up");
        ensure!(job.is_none_or(|job| !job.state.is_open()), "the job is still open");

        let task = ports.tasks.get(&id("t"), now).await?;
        if task.status != TaskStatus::Completed {
            ensure!(task.status == TaskStatus::Pending, "the task is {}", task.status);
            let later = now.plus(Duration::from_mins(10));
            let next = JobId::new(task.id, task.attempt + 1);
            // As it was asked for at first; a second admission has another id.
            let mut again = limited(assign(&next, "w", later), &limits(), ASK);
            again.claim.incarnation = None;
            ports.ledger.assign(again).await.context("there is no room for another attempt")?;
        }
        Ok(())
    }
}

/// What stays charged of a settled job.
fn kept(job: &Job) -> Amount {
    let gross = job.gross();
    job.outcome.map_or(gross, |outcome| gross.minus(outcome.refund(gross)))
}

/// Holds a fleet against the invariants.
async fn sound(ports: &Ports) -> Result<()> {
    let broken = invariants::broken(ports).await?;
    ensure!(broken.is_empty(), "{}", broken.join("\n"));
    let differences = ports.allowances.verify().await?;
    ensure!(differences.is_empty(), "meters are not the sum of their entries: {differences:?}");
    Ok(())
}
