//! Processes that race for the places under one limit.

use std::{
    io::{BufRead, BufReader, Write, stdout},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use agentic_core::{
    clock::Timestamp,
    id::JobId,
    limit::{Limit, Meter, Scope, Window},
    port::{Admission, Ports},
};
use agentic_testkit::given::{id, n, t};
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::place::{Address, Backend, Place};

/// How the race is run.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// On which back ends.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Args::default().backend)]
    backend: Vec<Backend>,
    /// How many races on each.
    #[arg(long, default_value_t = Args::default().rounds)]
    rounds: u32,
    /// How many processes race.
    #[arg(long, default_value_t = Args::default().processes, value_parser = clap::value_parser!(u32).range(1..=64))]
    processes: u32,
    /// How many admitters race in all.
    #[arg(long, default_value_t = Args::default().admitters, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    admitters: u32,
    /// Decides how many places each race has.
    #[arg(long, default_value_t = Args::default().seed)]
    seed: u64,
}

impl Default for Args {
    fn default() -> Self {
        let backend = vec![Backend::Sqlite, Backend::Redis];
        Self { backend, rounds: 1_000, processes: 4, admitters: 64, seed: 1 }
    }
}

/// What is raced for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Prize {
    Places,
    FleetPlaces,
    DailyJobs,
    HourlyRequests,
    DailyTokens,
    ProjectTokens,
}

impl Prize {
    const ALL: [Self; 6] = [
        Self::Places,
        Self::FleetPlaces,
        Self::DailyJobs,
        Self::HourlyRequests,
        Self::DailyTokens,
        Self::ProjectTokens,
    ];
}

/// One race: everything that its admitters must agree on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Round {
    number: u32,
    prize: Prize,
    /// How many get in.
    places: u32,
    /// Tokens that each asks for.
    ask: u32,
}

impl Round {
    /// Rounds lie so far apart that no reservation of one is alive in the next.
    fn now(&self) -> Timestamp {
        t(i64::from(self.number) * 100)
    }

    fn name(&self) -> String {
        format!("round-{}", self.number)
    }

    fn limit(&self) -> Limit {
        let agent = || Scope::Agent(id(&self.name()));
        let (scope, meter, window) = match self.prize {
            Prize::Places => (agent(), Meter::ActiveJobs, Window::Live),
            Prize::FleetPlaces => (Scope::Fleet, Meter::ActiveJobs, Window::Live),
            Prize::DailyJobs => (agent(), Meter::Jobs, Window::Day),
            Prize::HourlyRequests => (Scope::Model(id(&self.name())), Meter::Requests, Window::HOUR),
            Prize::DailyTokens => (agent(), Meter::Tokens, Window::Day),
            Prize::ProjectTokens => (Scope::Project(id(&self.name())), Meter::Tokens, Window::Day),
        };
        let cap = if meter == Meter::Tokens { self.places * self.ask } else { self.places };
        Limit::new(scope, meter, window, Some(n(cap)))
    }

    /// What one admitter asks for.
    pub(crate) fn admission(&self, process: u32, admitter: u32) -> Admission {
        let task = format!("{}-{process}-{admitter}", self.name());
        let now = self.now();
        Admission {
            job: JobId::new(id(&task), 1),
            id: task,
            agent_id: id(&self.name()),
            model: Some(id(&self.name())),
            project: Some(id(&self.name())),
            task_created_at: None,
            price: None,
            limits: vec![self.limit()],
            ask: n(self.ask),
            expires_at: now.plus(Duration::from_mins(1)),
            now,
        }
    }
}

/// Runs the races; the first that lets in more or fewer than it has places is an error.
pub(crate) async fn run(args: &Args, redis: Option<&str>) -> Result<()> {
    for backend in &args.backend {
        let place = Place::new(*backend, redis).await?;
        let address = place.fresh("admitters");
        let ports = address.open(None).await?;
        let began = tokio::time::Instant::now();
        let admitted = race(args, &address, &ports).await?;
        writeln!(
            stdout(),
            "{backend}: {} races of {} admitters in {} processes: {admitted} got in, exactly the places of each race \
             (seed {}, {:.0} s)",
            args.rounds,
            args.admitters,
            args.processes,
            args.seed,
            began.elapsed().as_secs_f64()
        )?;
    }
    Ok(())
}

async fn race(args: &Args, address: &Address, ports: &Ports) -> Result<u64> {
    let each = args.admitters.div_ceil(args.processes);
    let mut processes = (0..args.processes)
        .map(|number| {
            Process::start(address, number, each.min(args.admitters - (number * each).min(args.admitters)))
        })
        .collect::<Result<Vec<_>>>()?;
    let mut rng = fastrand::Rng::with_seed(args.seed);
    let mut all = 0;
    for (number, prize) in (0..args.rounds).zip(Prize::ALL.into_iter().cycle()) {
        let round =
            Round { number, prize, places: rng.u32(1..args.admitters.max(2)), ask: rng.u32(1..1_000) };
        let line = serde_json::to_string(&round)?;
        for process in &mut processes {
            process.tell(&line)?;
        }
        let mut admitted = 0;
        for process in &mut processes {
            admitted += process.answer()?;
        }
        let places = round.places.min(args.admitters);
        ensure!(admitted == places, "{admitted} got in, and there were {places} places: {line}");
        let limit = round.limit();
        let reading = ports.allowances.readings(std::slice::from_ref(&limit.key), round.now()).await?;
        let held = reading.first().map(|reading| reading.used.plus(reading.reserved));
        ensure!(held == limit.cap || admitted < round.places, "{held:?} is held of {:?}: {line}", limit.cap);
        all += u64::from(admitted);
    }
    for process in processes {
        process.end()?;
    }
    let differences = ports.allowances.verify().await?;
    ensure!(differences.is_empty(), "meters are not the sum of their entries: {differences:?}");
    Ok(all)
}

/// A process with some of the admitters; killed when dropped.
#[derive(Debug)]
struct Process {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Process {
    fn start(address: &Address, number: u32, admitters: u32) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["child", "admit", &address.to_string(), &number.to_string(), &admitters.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().context("it has no output")?);
        Ok(Self { child, orders, answers })
    }

    fn tell(&mut self, line: &str) -> Result<()> {
        let orders = self.orders.as_mut().context("it has no input")?;
        writeln!(orders, "{line}").context("an admitter has ended")
    }

    fn answer(&mut self) -> Result<u32> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        line.trim().parse().context("an admitter failed")
    }

    fn end(mut self) -> Result<()> {
        self.orders.take();
        let status = self.child.wait()?;
        ensure!(status.success(), "an admitter ended with {status}");
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_)))
            && let Err(error) = self.child.kill().and_then(|()| self.child.wait().map(drop))
        {
            eprintln!("cannot end an admitter: {error}");
        }
    }
}
