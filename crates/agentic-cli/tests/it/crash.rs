//! The server killed by SIGKILL at 50 random moments under load: after each restart every task is in one legal state,
//! nothing acknowledged is lost, and the meters equal the settlements.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use agentic_client::Client;
use agentic_core::{
    agent::AgentSpec,
    allowance::{UsageEvent, UsageReport},
    api::{CompleteTask, CreateTask, HeartbeatBody, PatchTask, RegisterAgent},
    error::Error,
    id::{AgentId, JobId, TaskId},
    port::Ports,
    task::{Page, Task, TaskFilter, TaskStatus},
};
use agentic_store_sqlite::{SqliteOptions, SqliteStore};
use agentic_testkit::port::free_port;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const KILLS: usize = 50;
const AGENTS: usize = 6;
const SUBMITTERS: usize = 2;

/// What the server has said yes to.
#[derive(Debug, Default)]
struct Acknowledged {
    submitted: BTreeSet<TaskId>,
    completed: BTreeSet<TaskId>,
    /// The highest cumulative figure that was answered, by job.
    tokens: BTreeMap<JobId, u64>,
}

type Ledger = Arc<Mutex<Acknowledged>>;

/// A server process; killed when dropped.
struct Server(Child);

impl Server {
    fn start(dir: &Path, port: u16) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_agentic"))
            .args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--data-dir"])
            .arg(dir)
            .current_dir(dir)
            .env_clear()
            .env("HOME", dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn until_ready(client: &Client) {
    for _ in 0..3_000 {
        if client.health().await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the server does not come up");
}

/// Waits for one more completion to be acknowledged.
async fn until_more_is_done(ledger: &Ledger) {
    let done = || ledger.lock().unwrap().completed.len();
    let before = done();
    for _ in 0..3_000 {
        if done() > before {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("nothing is completed");
}

/// Submits under keys of its own; a call whose answer was lost is repeated, and must not create twice.
async fn submit(client: Client, who: usize, ledger: Ledger, stop: CancellationToken) {
    let mut n = 0;
    while !stop.is_cancelled() {
        let key = format!("{who}/{n}");
        let task = CreateTask {
            idempotency_key: Some(key),
            max_retries: Some(100),
            ..CreateTask::new(format!("task {who} {n}"))
        };
        match client.create_task(&task).await {
            Ok(task) => {
                ledger.lock().unwrap().submitted.insert(task.id);
                n += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(Error::Unavailable { .. }) => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(error) => panic!("submit: {error:?}"),
        }
    }
}

/// An agent that takes what it is assigned, reports, and completes; whatever fails is left to its lease.
async fn work(client: Client, id: AgentId, ledger: Ledger, stop: CancellationToken) {
    let spec = AgentSpec { max_load: 2, ..AgentSpec::new(id.clone()) };
    let mut incarnation = None;
    while !stop.is_cancelled() {
        let Some(current) = incarnation else {
            incarnation = client
                .register_agent(&RegisterAgent::from(spec.clone()))
                .await
                .ok()
                .map(|info| info.incarnation);
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let beat = HeartbeatBody { incarnation: Some(current), attempts: Vec::new() };
        let _ = client.heartbeat(&id, &beat).await;
        match client.assignments(&id, current, Duration::from_millis(500)).await {
            Ok(tasks) => {
                for task in tasks {
                    let _ = attempt(&client, &id, &task, &ledger).await;
                }
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn attempt(client: &Client, id: &AgentId, task: &Task, ledger: &Ledger) -> Result<(), Error> {
    let start = PatchTask {
        status: Some(TaskStatus::InProgress),
        attempt: Some(task.attempt),
        ..PatchTask::default()
    };
    client.patch_task(&task.id, &start).await?;
    let job = JobId::new(task.id.clone(), task.attempt);
    for tokens in [10u32, 25] {
        let report = UsageReport {
            tokens_in: tokens.into(),
            ..UsageReport::new(id.clone(), job.clone(), UsageEvent::JobProgress)
        };
        client.report_usage(&report).await?;
        ledger.lock().unwrap().tokens.insert(job.clone(), u64::from(tokens));
    }
    let body = CompleteTask { success: true, attempt: Some(task.attempt), ..CompleteTask::default() };
    client.complete_task(&task.id, &body).await?;
    ledger.lock().unwrap().completed.insert(task.id.clone());
    Ok(())
}

/// Holds what stands in the file against what was acknowledged.
async fn check(ports: &Ports, ledger: &Ledger) {
    let now = agentic_core::clock::Timestamp::MAX;
    let mut page = Page::first(1_000);
    let mut found = BTreeMap::new();
    loop {
        let tasks = ports.tasks.list(&TaskFilter::default(), &page, now).await.unwrap();
        let Some(last) = tasks.last() else { break };
        page.cursor =
            Some(agentic_core::task::TaskCursor { created_at: last.created_at, id: last.id.clone() });
        for task in tasks {
            check_shape(ports, &task).await;
            assert!(found.insert(task.id.clone(), task.status).is_none(), "task {} stands twice", task.id);
        }
    }
    let counts = ports.tasks.counts().await.unwrap();
    assert_eq!(counts.values().sum::<u64>(), found.len() as u64, "counts and rows agree");
    assert_eq!(ports.allowances.verify().await.unwrap(), [], "the meters equal the settlements");
    let (submitted, completed, tokens) = {
        let known = ledger.lock().unwrap();
        (known.submitted.clone(), known.completed.clone(), known.tokens.clone())
    };
    for id in &submitted {
        assert!(found.contains_key(id), "task {id} was acknowledged and is lost");
    }
    for id in &completed {
        assert_eq!(found.get(id), Some(&TaskStatus::Completed), "the completion of {id} is lost");
    }
    for (job, acknowledged) in tokens {
        let charged = ports.allowances.job(&job).await.unwrap().map(|job| job.gross().get());
        assert!(charged >= Some(acknowledged), "job {job}: {acknowledged} acknowledged, {charged:?} charged");
    }
}

async fn check_shape(ports: &Ports, task: &Task) {
    let running = task.status == TaskStatus::InProgress;
    assert_eq!(task.lease_expires_at.is_some(), running, "{task:?}");
    assert_eq!(task.result.is_some(), task.status == TaskStatus::Completed, "{task:?}");
    assert!(task.retry_count <= task.max_retries, "{task:?}");
    if task.attempt > 0 {
        let id = JobId::new(task.id.clone(), task.attempt);
        let attempt = ports.tasks.attempt(&id).await.unwrap().unwrap();
        assert_eq!(attempt.ended_at.is_none(), running, "{task:?} {attempt:?}");
        let job = ports.allowances.job(&id).await.unwrap().unwrap();
        assert!(!running || job.state.is_open(), "a running task has its reservation: {job:?}");
        assert_eq!(running.then_some(job.expires_at), task.lease_expires_at, "one expiry for both");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_is_killed_at_fifty_random_moments() {
    let dir = tempfile::tempdir().unwrap();
    let config = "lease: 3s\nheartbeat: 1s\nagent_ttl: 3s\nbackoff_base: 1s\ntick: 1s\n";
    std::fs::write(dir.path().join("agentic.yaml"), config).unwrap();
    let port = free_port();
    let mut server = Server::start(dir.path(), port);
    let url = format!("http://127.0.0.1:{port}");
    let probe = Client::builder(&url).timeout(Duration::from_secs(5)).retries(0).build().unwrap();
    until_ready(&probe).await;
    let token = std::fs::read_to_string(dir.path().join("token")).unwrap();
    let client = || {
        Client::builder(&url).token(token.trim()).timeout(Duration::from_secs(5)).retries(0).build().unwrap()
    };

    let (ledger, stop) = (Ledger::default(), CancellationToken::new());
    let mut load = JoinSet::new();
    for who in 0..SUBMITTERS {
        load.spawn(submit(client(), who, Arc::clone(&ledger), stop.clone()));
    }
    for n in 0..AGENTS {
        let id = format!("agent-{n}").parse().unwrap();
        load.spawn(work(client(), id, Arc::clone(&ledger), stop.clone()));
    }
    let file = dir.path().join("agentic.db");
    for kill in 0..KILLS {
        // A random moment: from the first milliseconds of a start to well into the load, every other time after more was
        // done than before, however slow the machine is.
        if kill % 2 == 1 {
            until_more_is_done(&ledger).await;
        }
        let run = Duration::from_millis(u64::from(rand_below(900)));
        tokio::time::sleep(run).await;
        server.kill();
        // The dead server holds no lock; a reader of the same file recovers what was committed.
        let store = SqliteStore::open(&file, SqliteOptions::new()).unwrap();
        assert_eq!(store.integrity_check().await.unwrap(), Vec::<String>::new(), "after kill {kill}");
        check(&store.ports(), &ledger).await;
        drop(store);
        server = Server::start(dir.path(), port);
        until_ready(&probe).await;
    }
    stop.cancel();
    while let Some(ended) = load.join_next().await {
        ended.unwrap();
    }
    let known = ledger.lock().unwrap();
    println!(
        "{KILLS} kills: {} submissions and {} completions acknowledged",
        known.submitted.len(),
        known.completed.len()
    );
}

/// A number below `bound`, from the randomness that the standard library seeds its maps with.
fn rand_below(bound: u32) -> u32 {
    use std::hash::{BuildHasher, RandomState};
    u32::try_from(RandomState::new().hash_one(()) % u64::from(bound)).unwrap()
}
