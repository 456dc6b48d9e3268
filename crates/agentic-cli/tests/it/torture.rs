//! Three servers with eight dispatchers and 64 agents on one Redis: every task done once, no limit passed, nothing
//! lost, whether the servers live or are killed all the time. `cargo xtask torture` runs it at any size.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use agentic_client::Client;
use agentic_core::{
    agent::AgentSpec,
    allowance::{AgentAllowance, ModelQuota, UsageEvent, UsageReport},
    api::{CompleteTask, CreateTask, HeartbeatBody, PatchTask, RegisterAgent},
    error::{Error, Result},
    event::Event,
    id::{AgentId, JobId},
    task::{Priority, Task, TaskStatus},
};
use agentic_store_redis::{RedisOptions, RedisStore};
use agentic_testkit::port::free_port;
use fastrand::Rng;
use futures_util::StreamExt as _;
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

use crate::{redis::Redis, replay::Replay};

/// How many dispatchers each server runs.
const DISPATCHERS: [usize; 3] = [3, 3, 2];
const AGENTS: usize = 64;
const MAX_LOAD: u32 = 3;
/// Tokens that each task asks for and uses.
const TOKENS: u32 = 10;
/// How many jobs the one agent with a limit of its own may start in a day.
const POOR_JOBS: u32 = 7;
/// How many requests the scarce model takes in an hour, before the limit is raised.
const SCARCE: u32 = 20;
/// One task in so many needs the scarce model.
const SCARCE_SHARE: usize = 10;
const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const KILL_EVERY: Duration = Duration::from_secs(2);

/// How a run is set up.
struct Plan {
    tasks: usize,
    seed: u64,
    killing: bool,
    lease: Duration,
    patience: Duration,
}

impl Plan {
    /// `tasks` where the environment asks for no other number.
    fn new(tasks: usize, killing: bool) -> Self {
        let from_env = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
        let tasks = from_env("AGENTIC_TORTURE_TASKS").map_or(tasks, |tasks| usize::try_from(tasks).unwrap());
        // Long enough that nothing expires where nobody is killed; short where much does.
        let lease = Duration::from_secs(if killing { 15 } else { 600 });
        let patience = Duration::from_secs(from_env("AGENTIC_TORTURE_SECONDS").unwrap_or(480));
        Self { tasks, seed: from_env("AGENTIC_TORTURE_SEED").unwrap_or(7), killing, lease, patience }
    }

    fn scarce(&self) -> usize {
        self.tasks / SCARCE_SHARE
    }
}

/// A server process, killed when it is dropped.
struct Server {
    child: Child,
    port: u16,
    dispatchers: usize,
}

impl Server {
    fn spawn(dir: &Path, redis: &str, port: u16, dispatchers: usize, lease: Duration) -> Child {
        use std::os::unix::fs::PermissionsExt as _;
        let data = dir.join(port.to_string());
        std::fs::create_dir_all(&data).unwrap();
        let token = data.join("token");
        std::fs::write(&token, TOKEN).unwrap();
        std::fs::set_permissions(token, std::fs::Permissions::from_mode(0o600)).unwrap();
        let third = format!("{}s", lease.as_secs() / 3);
        let log = std::fs::File::options().create(true).append(true).open(data.join("log")).unwrap();
        Command::new(env!("CARGO_BIN_EXE_agentic"))
            .args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--store", redis, "--data-dir"])
            .arg(&data)
            .current_dir(dir)
            .env_clear()
            .env("HOME", dir)
            .env("AGENTIC_DISPATCHERS", dispatchers.to_string())
            .env("AGENTIC_LEASE", format!("{}s", lease.as_secs()))
            .env("AGENTIC_HEARTBEAT", &third)
            .env("AGENTIC_AGENT_TTL", format!("{}s", lease.as_secs()))
            .env("AGENTIC_BACKOFF_BASE", "1s")
            .env("AGENTIC_LOG", "warn")
            .env("AGENTIC_REDIS", r#"{"connect_timeout": "60s", "command_timeout": "60s"}"#)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    /// Waits until it answers for the first time.
    async fn until_up(&mut self, dir: &Path) {
        let log = dir.join(self.port.to_string()).join("log");
        let told = || std::fs::read_to_string(&log).unwrap_or_default();
        let client = self.client();
        for _ in 0..1_200 {
            if client.health().await.is_ok() {
                return;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "a server ended: {}", told());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("a server does not come up: {}", told());
    }

    fn client(&self) -> Client {
        let url = format!("http://127.0.0.1:{}", self.port);
        Client::builder(url).token(TOKEN).timeout(Duration::from_secs(10)).retries(0).build().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Who calls one server, and the next when that is away.
#[derive(Clone)]
struct Caller {
    clients: Vec<Client>,
    at: usize,
    moves: Arc<AtomicUsize>,
}

impl Caller {
    fn now(&self) -> Client {
        self.clients[self.at % self.clients.len()].clone()
    }

    async fn move_on(&mut self) {
        self.at += 1;
        self.moves.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Makes a call that can be repeated until a server answers it; the deadline of the run ends it else.
macro_rules! persist {
    ($caller:expr, $client:ident => $call:expr) => {
        loop {
            let $client = $caller.now();
            match $call.await {
                Err(error) if error.is_retryable() => $caller.move_on().await,
                answer => break answer,
            }
        }
    };
}

async fn work(mut caller: Caller, id: AgentId, stop: CancellationToken) {
    let spec = RegisterAgent::from(AgentSpec { max_load: MAX_LOAD, ..AgentSpec::new(id.clone()) });
    let incarnation = persist!(caller, client => client.register_agent(&spec)).unwrap().incarnation;
    let beats = beat(caller.clone(), id.clone(), incarnation);
    let works = async {
        while !stop.is_cancelled() {
            let wait = Duration::from_secs(5);
            let assigned = caller.now().assignments(&id, incarnation, wait).await;
            match assigned {
                Ok(tasks) => {
                    for task in tasks {
                        match attempt(&mut caller, &id, &task).await {
                            // The lease ran out while servers died: somebody else has it, or will.
                            Ok(()) | Err(Error::Conflict { .. }) => {}
                            Err(error) => panic!("{id}: {task:?}: {error:?}"),
                        }
                    }
                }
                Err(error) if error.is_retryable() => caller.move_on().await,
                Err(error) => panic!("{id}: {error:?}"),
            }
        }
    };
    tokio::select! {
        () = beats => {}
        () = works => {}
    }
}

/// Says that an agent lives; attempts take no longer than their first lease.
async fn beat(mut caller: Caller, id: AgentId, incarnation: u64) {
    loop {
        let body = HeartbeatBody { incarnation: Some(incarnation), attempts: Vec::new() };
        persist!(caller, client => client.heartbeat(&id, &body)).unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

async fn attempt(caller: &mut Caller, id: &AgentId, task: &Task) -> Result<()> {
    let start = PatchTask {
        status: Some(TaskStatus::InProgress),
        attempt: Some(task.attempt),
        ..PatchTask::default()
    };
    persist!(caller, client => client.patch_task(&task.id, &start))?;
    let job = JobId::new(task.id.clone(), task.attempt);
    let report = UsageReport {
        tokens_in: TOKENS.into(),
        ..UsageReport::new(id.clone(), job, UsageEvent::JobProgress)
    };
    persist!(caller, client => client.report_usage(&report))?;
    let done = CompleteTask { success: true, attempt: Some(task.attempt), ..CompleteTask::default() };
    persist!(caller, client => client.complete_task(&task.id, &done)).map(drop)
}

fn task(plan: &Plan, n: usize) -> CreateTask {
    let scarce = n < plan.scarce();
    let name = if scarce { "scarce" } else { "plenty" };
    let id = format!("{name}-{n}");
    CreateTask {
        id: id.clone(),
        priority: Priority::ALL[n % 4],
        model: Some(name.parse().unwrap()),
        estimated_tokens: TOKENS.into(),
        max_retries: Some(1_000),
        idempotency_key: Some(id),
        ..CreateTask::new(format!("task {n}"))
    }
}

/// Follows the log at one server after the other, and holds what it tells to [`Replay`].
async fn follow(mut caller: Caller, seen: Arc<Mutex<(Replay, Vec<Event>)>>) {
    let mut cursor = 0;
    loop {
        let mut events = caller.now().events(Some(cursor), None);
        while let Some(Ok(event)) = events.next().await {
            cursor = event.id;
            let mut seen = seen.lock().unwrap();
            seen.0.read(&event);
            seen.1.push(event);
        }
        caller.move_on().await;
    }
}

async fn until(what: &str, deadline: Instant, stop: &CancellationToken, mut done: impl FnMut() -> bool) {
    while !done() {
        assert!(Instant::now() < deadline, "{what} does not come");
        assert!(!stop.is_cancelled(), "somebody fell");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn torture(plan: Plan) {
    eprintln!("torture: seed {}, {} tasks, killing: {}", plan.seed, plan.tasks, plan.killing);
    let redis = Redis::start(&[]);
    let dir = tempfile::tempdir().unwrap();
    let mut servers: Vec<Server> = DISPATCHERS
        .into_iter()
        .map(|dispatchers| {
            let port = free_port();
            let child = Server::spawn(dir.path(), &redis.url(), port, dispatchers, plan.lease);
            Server { child, port, dispatchers }
        })
        .collect();
    let clients: Vec<Client> = servers.iter().map(Server::client).collect();
    let moves = Arc::new(AtomicUsize::new(0));
    let caller = |at| Caller { clients: clients.clone(), at, moves: Arc::clone(&moves) };
    let mut operator = caller(0);
    for server in &mut servers {
        server.until_up(dir.path()).await;
    }
    let poor: AgentId = "agent-00".parse().unwrap();
    let allowance =
        AgentAllowance { daily_job_limit: POOR_JOBS.into(), ..AgentAllowance::unlimited(poor.clone()) };
    persist!(operator, client => client.set_allowance(&allowance)).unwrap();
    let generous = |id: &str| AgentAllowance::unlimited(id.parse().unwrap());
    let names: Vec<String> = (0..AGENTS).map(|n| format!("agent-{n:02}")).collect();
    for name in &names[1..] {
        persist!(operator, client => client.set_allowance(&generous(name))).unwrap();
    }
    let scarce =
        ModelQuota { hourly_rate_limit: SCARCE.into(), ..ModelQuota::unlimited("scarce".parse().unwrap()) };
    persist!(operator, client => client.set_model(&scarce)).unwrap();

    let began = Instant::now();
    let deadline = began + plan.patience;
    let (stop, fell) = (CancellationToken::new(), CancellationToken::new());
    let seen = Arc::new(Mutex::new((Replay::new(MAX_LOAD as usize, plan.lease), Vec::new())));
    let mut crew = JoinSet::new();
    for (n, name) in names.iter().enumerate() {
        crew.spawn(guarded(work(caller(n), name.parse().unwrap(), stop.clone()), fell.clone(), stop.clone()));
    }
    crew.spawn(guarded(follow(caller(1), Arc::clone(&seen)), fell.clone(), stop.clone()));
    let kills = kills(
        servers,
        plan.seed,
        plan.killing,
        plan.lease,
        (dir.path().to_owned(), redis.url()),
        stop.clone(),
    );
    let guard = fell.clone().drop_guard();
    let nemesis = tokio::spawn(async move {
        let ended = kills.await;
        guard.disarm();
        ended
    });

    let numbers: Vec<usize> = (0..plan.tasks).collect();
    for chunk in numbers.chunks(200) {
        let tasks: Vec<CreateTask> = chunk.iter().map(|n| task(&plan, *n)).collect();
        persist!(operator, client => client.create_tasks(&tasks, None)).unwrap();
    }
    let submitted = began.elapsed();
    let plenty = plan.tasks - plan.scarce();
    // The scarce model has given what it has, and everything else is done.
    until("the end of what may run", deadline, &fell, || {
        let seen = seen.lock().unwrap();
        let waiting = seen.0.open().iter().all(|task| task.as_str().starts_with("scarce"));
        seen.1.len() > plan.tasks
            && waiting
            && seen.0.completed >= plenty
            && seen.0.started("scarce") >= SCARCE as usize
    })
    .await;
    {
        let seen = seen.lock().unwrap();
        assert_eq!(seen.0.started("scarce"), SCARCE as usize, "the model's limit at admission");
        assert!(seen.0.open().len() >= plan.scarce() - SCARCE as usize, "what has no room waits");
    }
    persist!(operator, client => client.set_model(&ModelQuota::unlimited("scarce".parse().unwrap())))
        .unwrap();
    until("the end of all", deadline, &fell, || seen.lock().unwrap().0.completed == plan.tasks).await;
    let took = began.elapsed();
    stop.cancel();
    let (kills, servers) = nemesis.await.unwrap();
    while let Some(ended) = crew.join_next().await {
        ended.unwrap();
    }
    drop(servers);
    let lost = check(&redis, &plan, &seen).await;
    let rate = plan.tasks as u128 * 1_000 / took.as_millis().max(1);
    eprintln!(
        "torture: {} tasks completed in {took:.1?} ({rate}/s), submitted in {submitted:.1?}; {kills} kills, {} moves to \
         another server, {lost} attempts lost and done again",
        plan.tasks,
        moves.load(Ordering::Relaxed),
    );
}

/// Ends with `stop`; who falls says so to all.
async fn guarded(work: impl Future<Output = ()>, fell: CancellationToken, stop: CancellationToken) {
    let guard = fell.drop_guard();
    let _ = stop.run_until_cancelled(work).await;
    guard.disarm();
}

/// Kills a server every two seconds, and starts it again, until the run is over; answers how often.
async fn kills(
    mut servers: Vec<Server>,
    seed: u64,
    killing: bool,
    lease: Duration,
    (dir, redis): (std::path::PathBuf, String),
    stop: CancellationToken,
) -> (usize, Vec<Server>) {
    let mut rng = Rng::with_seed(seed);
    let mut killed = 0;
    let mut every = tokio::time::interval(KILL_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    every.reset();
    while killing && stop.run_until_cancelled(every.tick()).await.is_some() {
        let server = &mut servers[rng.usize(0..DISPATCHERS.len())];
        server.child.kill().unwrap();
        server.child.wait().unwrap();
        killed += 1;
        // For a moment it is away.
        tokio::time::sleep(Duration::from_millis(rng.u64(0..500))).await;
        server.child = Server::spawn(&dir, &redis, server.port, server.dispatchers, lease);
        server.until_up(&dir).await;
    }
    stop.cancelled().await;
    (killed, servers)
}

/// Holds what stands in the store against what was told; answers how many attempts were lost.
async fn check(redis: &Redis, plan: &Plan, seen: &Mutex<(Replay, Vec<Event>)>) -> usize {
    let ports = RedisStore::connect(&redis.url(), RedisOptions::new()).await.unwrap().ports();
    let counts = ports.tasks.counts().await.unwrap();
    assert_eq!(counts, BTreeMap::from([(TaskStatus::Completed, plan.tasks as u64)]), "none lost, none twice");
    assert_eq!(ports.allowances.verify().await.unwrap(), [], "the meters are the sum of the entries");
    let mut log = Vec::new();
    let mut replay = Replay::new(MAX_LOAD as usize, plan.lease);
    loop {
        let page = ports.events.after(log.last().map_or(0, |event: &Event| event.id), 1_000).await.unwrap();
        if page.events.is_empty() {
            break;
        }
        page.events.iter().for_each(|event| replay.read(event));
        log.extend(page.events);
    }
    let told = &seen.lock().unwrap().1;
    assert_eq!(told[..], log[..told.len()], "each event was told once, in order");
    assert_eq!(replay.open(), Vec::<&agentic_core::id::TaskId>::new());
    assert_eq!(replay.completed, plan.tasks, "each is completed once");
    let poor = replay.jobs.iter().filter(|((agent, _), _)| agent.as_str() == "agent-00");
    let most: BTreeSet<u64> = poor.map(|(_, jobs)| *jobs).collect();
    assert_eq!(most.last(), Some(&u64::from(POOR_JOBS)), "the agent's limit binds and is never passed");
    if !plan.killing {
        assert_eq!(replay.lost, 0);
        for (name, tasks) in [("scarce", plan.scarce()), ("plenty", plan.tasks - plan.scarce())] {
            assert_eq!(replay.started(name), tasks, "{name}");
        }
    }
    replay.lost
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_servers_eight_dispatchers_and_sixty_four_agents() {
    torture(Plan::new(800, false)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_killed_every_two_seconds() {
    torture(Plan::new(800, true)).await;
}
