//! 16 dispatchers and 64 workers on one SQLite file, through four handles as four processes would have them: 5,000
//! tasks, no double claim, no limit passed, none lost.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use agentic_core::{
    agent::AgentSpec,
    allowance::{AgentAllowance, ModelQuota, UsageEvent, UsageReport},
    api::{CompleteTask, CreateTask, PatchTask},
    clock::SystemClock,
    event::EventType,
    id::{AgentId, JobId, ModelName},
    task::{Priority, Task, TaskStatus},
};
use agentic_dispatch::{Caller, DefaultAllowance, Fleet, LeastLoaded, Policy};
use agentic_store_sqlite::{SqliteOptions, SqliteStore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const HANDLES: usize = 4;
const DISPATCHERS: usize = 16;
const WORKERS: usize = 64;
const TASKS: usize = 5_000;
const MAX_LOAD: u32 = 3;
/// Tokens that each task uses.
const TOKENS: u32 = 10;
/// The one agent that runs out: its daily budget.
const BUDGET: u32 = 200;

fn model() -> ModelName {
    "swarm-model".parse().unwrap()
}

fn task(n: usize) -> CreateTask {
    let label = if n.is_multiple_of(2) { "even" } else { "odd" };
    CreateTask {
        priority: Priority::ALL[n % 4],
        labels: [label.parse().unwrap()].into(),
        model: Some(model()),
        estimated_tokens: TOKENS.into(),
        ..CreateTask::new(format!("task {n}"))
    }
}

async fn run_attempt(fleet: &Fleet, agent: &AgentId, task: &Task) {
    let by = Caller::Agent(agent.clone());
    let start = PatchTask {
        status: Some(TaskStatus::InProgress),
        attempt: Some(task.attempt),
        ..PatchTask::default()
    };
    fleet.tasks().patch(&by, &task.id, &start).await.unwrap();
    let report = UsageReport {
        tokens_in: TOKENS.into(),
        ..UsageReport::new(agent.clone(), JobId::new(task.id.clone(), task.attempt), UsageEvent::JobProgress)
    };
    fleet.allowances().record_usage(report).await.unwrap();
    let done = CompleteTask { success: true, attempt: Some(task.attempt), ..CompleteTask::default() };
    fleet.tasks().complete(&by, &task.id, done).await.unwrap();
}

async fn work(
    fleet: Fleet,
    agent: AgentId,
    incarnation: u64,
    done: Arc<AtomicUsize>,
    stop: CancellationToken,
) {
    while !stop.is_cancelled() {
        let wait = Duration::from_secs(1);
        let assigned = fleet.agents().assignments(&agent, incarnation, wait).await.unwrap();
        for task in assigned {
            run_attempt(&fleet, &agent, &task).await;
            if done.fetch_add(1, Ordering::SeqCst) + 1 == TASKS {
                stop.cancel();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_dispatchers_and_sixty_four_workers_on_one_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("swarm.db");
    // Longer than the test takes on any machine: what expires here would be a bug of the test.
    let lease = Duration::from_mins(10);
    let policy = Policy {
        default_allowance: Some(DefaultAllowance::default()),
        lease,
        agent_ttl: lease,
        ..Policy::default()
    };
    // On a machine without a core to spare one handle may have to let the others go first for long: these workers do not
    // ask again, as real ones do.
    let options = SqliteOptions::new().busy_timeout(Duration::from_mins(2));
    let stores: Vec<SqliteStore> =
        (0..HANDLES).map(|_| SqliteStore::open(&path, options.clone()).unwrap()).collect();
    let fleets: Vec<Fleet> = stores
        .iter()
        .map(|store| Fleet::new(store.ports(), Arc::new(SystemClock), policy.clone()).unwrap())
        .collect();
    let fleet = &fleets[0];
    fleet.allowances().set_model(ModelQuota::unlimited(model())).await.unwrap();
    let poor: AgentId = "worker-00".parse().unwrap();
    let allowance =
        AgentAllowance { daily_token_limit: BUDGET.into(), ..AgentAllowance::unlimited(poor.clone()) };
    fleet.allowances().set(allowance).await.unwrap();

    let stop = CancellationToken::new();
    let done = Arc::new(AtomicUsize::new(0));
    let mut running = JoinSet::new();
    for n in 0..WORKERS {
        let spec = AgentSpec {
            capabilities: ["even", "odd"].into_iter().map(|label| label.parse().unwrap()).collect(),
            max_load: MAX_LOAD,
            ..AgentSpec::new(format!("worker-{n:02}").parse().unwrap())
        };
        let info = fleet.agents().register(spec).await.unwrap();
        let fleet = fleets[n % HANDLES].clone();
        running.spawn(work(fleet, info.id, info.incarnation, Arc::clone(&done), stop.clone()));
    }
    for n in 0..DISPATCHERS {
        let dispatcher = fleets[n % HANDLES].dispatcher(Arc::new(LeastLoaded));
        let stop = stop.clone();
        running.spawn(async move { dispatcher.run(stop).await });
    }
    for chunk in (0..TASKS).collect::<Vec<_>>().chunks(500) {
        fleet.tasks().create(chunk.iter().map(|n| task(*n)).collect(), None).await.unwrap();
    }
    let all_end = async {
        while let Some(ended) = running.join_next().await {
            ended.unwrap();
        }
    };
    let ended = tokio::time::timeout(Duration::from_mins(8), all_end).await;
    assert!(ended.is_ok(), "only {} of {TASKS} tasks are done", done.load(Ordering::SeqCst));

    let counts = fleet.tasks().counts().await.unwrap();
    assert_eq!(counts, BTreeMap::from([(TaskStatus::Completed, TASKS as u64)]), "none lost");
    check_events(fleet).await;
    assert_eq!(fleet.ports().allowances.verify().await.unwrap(), []);
    let used = fleet.allowances().usage(&poor).await.unwrap().tokens_used;
    assert!(used.get() <= u64::from(BUDGET), "{used} of {BUDGET}");
    let of_model = fleet.allowances().model_usages(&[model()]).await.unwrap().remove(0);
    assert_eq!(of_model.tokens_today.get(), TASKS as u64 * u64::from(TOKENS));
}

/// Replays the log: each task is claimed once, and no agent ever holds more than its `max_load`.
async fn check_events(fleet: &Fleet) {
    let mut claims: BTreeMap<_, u32> = BTreeMap::new();
    let mut load: BTreeMap<AgentId, u32> = BTreeMap::new();
    let mut cursor = 0;
    loop {
        let page = fleet.ports().events.after(cursor, 1_000).await.unwrap();
        if page.events.is_empty() {
            break;
        }
        for event in page.events {
            match (event.kind, event.agent_id) {
                (EventType::TaskClaimed, Some(agent)) => {
                    *claims.entry(event.task_id.unwrap()).or_default() += 1;
                    let load = load.entry(agent).or_default();
                    *load += 1;
                    assert!(*load <= MAX_LOAD, "event {}: over max_load", event.id);
                }
                (EventType::TaskCompleted, Some(agent)) => *load.get_mut(&agent).unwrap() -= 1,
                _ => {}
            }
        }
        cursor = page.cursor;
    }
    assert_eq!(claims.len(), TASKS);
    assert!(claims.values().all(|count| *count == 1), "no double claim");
}
