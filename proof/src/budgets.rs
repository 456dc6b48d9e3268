//! A fleet that burns one budget: what it overshoots, beside checking first and charging later.

use std::{
    fmt,
    io::{Write, stdout},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use agentic_core::{
    allowance::{ModelQuota, UsageEvent, UsageReport},
    api::{ClaimTask, CompleteTask, CreateTask},
    clock::SystemClock,
    error::Error,
    id::{AgentId, JobId, ModelName},
    memory::Memory,
    port::Ports,
    usage::Directive,
};
use agentic_dispatch::{Caller, DefaultAllowance, Fleet, Policy};
use agentic_testkit::given::id;
use anyhow::{Result, ensure};
use tokio::{
    sync::Barrier,
    task::{JoinSet, yield_now},
};

use crate::place::{Backend, Place};

/// What is burnt.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Args {
    /// How many agents work at once.
    #[arg(long, default_value_t = Args::default().agents, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    agents: u32,
    /// What all of them together may use, in tokens.
    #[arg(long, default_value_t = Args::default().budget, value_parser = clap::value_parser!(u32).range(1..))]
    budget: u32,
    /// What each burns from one report to the next, in tokens.
    #[arg(long, default_value_t = Args::default().report, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    report: u32,
    /// How many reports a job takes that is not stopped.
    #[arg(long, default_value_t = Args::default().reports, value_parser = clap::value_parser!(u32).range(2..=1_000))]
    reports: u32,
}

impl Default for Args {
    fn default() -> Self {
        Self { agents: 50, budget: 1_000_000, report: 1_000, reports: 40 }
    }
}

/// What one way of keeping a budget came to.
struct Burnt {
    how: String,
    used: u64,
    jobs: u64,
}

/// Burns the budget in every way; ours passing its bound is an error.
pub(crate) async fn run(args: &Args, redis: Option<&str>) -> Result<()> {
    let sqlite = Place::new(Backend::Sqlite, None).await?;
    let shared = Place::new(Backend::Redis, redis).await?;
    let mut rows = Vec::new();
    for (name, ports) in [
        ("memory", Memory::new().ports()),
        ("SQLite", sqlite.fresh("budgets").open(None).await?),
        ("Redis", shared.fresh("budgets").open(None).await?),
    ] {
        rows.push(agentic(*args, name, ports).await?);
    }
    let ours = rows.len();
    rows.push(check_then_spend(*args).await?);

    let bound = u64::from(args.agents) * u64::from(args.report);
    let mut out = stdout().lock();
    writeln!(
        out,
        "{} agents against one budget of {} tokens; {} tokens a report, {} reports a job; at most one report a live job \
         is {bound}",
        args.agents, args.budget, args.report, args.reports
    )?;
    writeln!(out, "{:<40} {:>6} {:>10} {:>10} {:>8}", "", "jobs", "used", "over", "reports")?;
    for row in &rows {
        let over = row.over(args);
        writeln!(out, "{row}{over:>10} {:>8}", over.div_ceil(u64::from(args.report)))?;
    }
    for row in &rows[..ours] {
        ensure!(row.used >= u64::from(args.budget), "{}: the budget was not burnt", row.how);
        ensure!(row.over(args) <= bound, "{}: {} over, more than {bound}", row.how, row.over(args));
    }
    ensure!(
        rows[ours].over(args) > bound,
        "checking first and charging later was no worse: take a budget that is no multiple of what all burn in a job"
    );
    Ok(())
}

impl Burnt {
    fn over(&self, args: &Args) -> u64 {
        self.used.saturating_sub(args.budget.into())
    }
}

impl fmt::Display for Burnt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<40} {:>6} {:>10} ", self.how, self.jobs, self.used)
    }
}

/// The budget of a model, held by admission and by the answers to reports.
async fn agentic(args: Args, name: &str, ports: Ports) -> Result<Burnt> {
    let policy = Policy { default_allowance: Some(DefaultAllowance::default()), ..Policy::default() };
    let fleet = Fleet::new(ports, Arc::new(SystemClock), policy)?;
    let model: ModelName = id("m");
    let quota = ModelQuota { daily_token_budget: args.budget.into(), ..ModelQuota::unlimited(model.clone()) };
    fleet.allowances().set_model(quota).await?;
    let mut agents = JoinSet::new();
    for number in 0..args.agents {
        agents.spawn(burn(args, fleet.clone(), number));
    }
    let mut jobs = 0;
    while let Some(ended) = agents.join_next().await {
        jobs += ended??;
    }
    let differences = fleet.ports().allowances.verify().await?;
    ensure!(differences.is_empty(), "meters are not the sum of their entries: {differences:?}");
    let used = fleet.allowances().model_usages(std::slice::from_ref(&model)).await?;
    let used = used.first().map_or(0, |usage| usage.tokens_today.get());
    Ok(Burnt { how: format!("agentic, {name}"), used, jobs })
}

/// One agent: takes jobs until it is refused, and ends one only when it is told to stop or its work is done; answers how
/// many it took.
async fn burn(args: Args, fleet: Fleet, number: u32) -> Result<u64> {
    let agent: AgentId = format!("agent-{number}").parse()?;
    let by = Caller::Agent(agent.clone());
    let mut jobs = 0;
    loop {
        let task = CreateTask { model: Some(id("m")), ..CreateTask::new("burn") };
        let task = fleet.tasks().create(vec![task], None).await?.remove(0).task;
        let claim = ClaimTask { agent_id: agent.clone(), lease_secs: None };
        let task = match fleet.tasks().claim(&task.id, &claim).await {
            Ok(task) => task,
            Err(Error::Refused(_)) => return Ok(jobs),
            Err(error) => return Err(error.into()),
        };
        jobs += 1;
        let mut success = true;
        for report in 1..=args.reports {
            // A request to the model; meanwhile the others work.
            yield_now().await;
            let report = UsageReport {
                tokens_in: (report * args.report).into(),
                ..UsageReport::new(
                    agent.clone(),
                    JobId::new(task.id.clone(), task.attempt),
                    UsageEvent::JobProgress,
                )
            };
            if fleet.allowances().record_usage(report).await?.directive == Directive::Stop {
                success = false;
                break;
            }
        }
        let body = CompleteTask { success, attempt: Some(task.attempt), ..CompleteTask::default() };
        fleet.tasks().complete(&by, &task.id, body).await?;
    }
}

/// The same agents under a gateway that looks at what was spent before a job, and adds what the job cost after it. All
/// look before the first of them adds anything, so that the figure is the same on any machine.
async fn check_then_spend(args: Args) -> Result<Burnt> {
    let spent = Arc::new(AtomicU64::new(0));
    let together = Arc::new(Barrier::new(args.agents.try_into()?));
    let mut agents = JoinSet::new();
    for _ in 0..args.agents {
        let (spent, together) = (Arc::clone(&spent), Arc::clone(&together));
        agents.spawn(async move {
            let mut jobs = 0;
            while spent.load(Ordering::SeqCst) < u64::from(args.budget) {
                jobs += 1;
                together.wait().await;
                spent.fetch_add(u64::from(args.reports) * u64::from(args.report), Ordering::SeqCst);
                together.wait().await;
            }
            jobs
        });
    }
    let mut jobs = 0;
    while let Some(ended) = agents.join_next().await {
        jobs += ended?;
    }
    let how = "check before a job, charge after it".to_owned();
    Ok(Burnt { how, used: spent.load(Ordering::SeqCst), jobs })
}
