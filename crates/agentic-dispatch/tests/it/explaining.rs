//! Explanations and dry runs: what is told, that it is what the dispatcher does, and that nothing changes.

use std::time::Duration;

use agentic_core::{
    agent::AgentSpec,
    allowance::AgentAllowance,
    api::{ClaimTask, CreateTask, PatchTask},
    error::{ConflictCode, Error, Result},
    explain::{Explanation, Prospects, Standing},
    id::{AgentId, TaskId},
    memory::Memory,
    port::Reap,
    task::{Priority, Task, TaskStatus},
};
use agentic_dispatch::{Caller, LeastLoaded};
use agentic_testkit::counting::Counting;

use crate::world::{World, labelled, policy, titled};

fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

async fn explain(world: &World, task: &TaskId) -> Explanation {
    world.fleet.tasks().explain(task, &LeastLoaded, 100).await.unwrap()
}

async fn prospects(world: &World, task: &Task) -> Prospects {
    explain(world, &task.id).await.prospects.unwrap()
}

async fn dry_run(world: &World, tasks: Vec<CreateTask>) -> Result<Vec<Explanation>> {
    world.fleet.tasks().dry_run(tasks, None, &LeastLoaded, 3).await
}

/// The one cause of a task's state: its code, its words and its time.
async fn cause(world: &World, task: &TaskId) -> (String, String, Option<String>) {
    let mut because = explain(world, task).await.because;
    assert_eq!(because.len(), 1, "{because:?}");
    let reason = because.remove(0);
    (reason.code, reason.detail, reason.retry_at.map(|at| at.to_string()))
}

#[tokio::test]
async fn each_agent_is_told_where_it_stands() {
    let world = World::new();
    world.agent("offline", &["rust"], 0).await;
    world.pass(60);
    let reap = Reap { ttl: Duration::from_secs(30), limit: 9, now: world.now() };
    world.fleet.ports().agents.reap(reap).await.unwrap();
    for (name, label, max_load) in [
        ("busy", "rust", 1),
        ("drains", "rust", 0),
        ("fits", "rust", 2),
        ("lacks", "go", 0),
        ("spent", "rust", 0),
        ("listed", "rust", 0),
    ] {
        world.agent(name, &[label], max_load).await;
    }
    let models = AgentSpec {
        models: vec![id("m2")],
        capabilities: [id("rust")].into(),
        ..AgentSpec::new(id("other"))
    };
    world.fleet.agents().register(models).await.unwrap();
    world.fleet.agents().set_draining(&id("drains"), true).await.unwrap();
    let mine = world.submit(titled("mine")).await;
    let claim = ClaimTask { agent_id: id("busy"), lease_secs: None };
    world.fleet.tasks().claim(&mine.id, &claim).await.unwrap();
    world.allow("spent", |limits| limits.daily_token_limit = 10u32.into()).await;
    world.allow("listed", |limits| limits.model_allowlist = [id("m2")].into()).await;

    let create =
        CreateTask { model: Some(id("m1")), estimated_tokens: 11u32.into(), ..labelled("x", &["rust"]) };
    let task = world.submit(create).await;
    let said = prospects(&world, &task).await;
    assert_eq!(said.choice, Some(id("fits")));
    let told: Vec<(&str, Standing)> =
        said.agents.iter().map(|agent| (agent.agent_id.as_str(), agent.standing)).collect();
    let expected = [
        ("fits", Standing::Fits),
        ("listed", Standing::Rule),
        ("spent", Standing::Limit),
        ("busy", Standing::AtCapacity),
        ("drains", Standing::Draining),
        ("offline", Standing::Offline),
        ("other", Standing::Model),
        ("lacks", Standing::Labels),
    ];
    assert_eq!(told, expected);
    let of = |name: &str| said.agents.iter().find(|agent| agent.agent_id.as_str() == name).unwrap();
    assert_eq!(of("fits").reason, None);
    assert_eq!((of("busy").current_load, of("busy").max_load), (1, 1));
    assert_eq!(of("busy").reason.as_deref(), Some("is at its max_load: 1 of 1"));
    assert_eq!(of("lacks").reason.as_deref(), Some("lacks rust"));
    assert!(of("listed").reason.as_ref().unwrap().contains("allowlist"));
    let limit = &of("spent").limits[0];
    assert_eq!(
        (limit.used.get(), limit.reserved.get(), limit.asked.get(), limit.cap.get(), limit.room),
        (0, 0, 11, 10, false)
    );
    assert_eq!(limit.frees_at, None, "an ask above the cap never fits");
    assert!(of("fits").limits.iter().all(|limit| limit.room));
}

#[tokio::test]
async fn limits_are_told_with_their_figures_and_when_they_free() {
    let world = World::new();
    world.agent("a", &[], 0).await;
    world
        .allow("a", |limits| {
            (limits.daily_token_limit, limits.daily_job_limit) = (100u32.into(), 1u32.into());
        })
        .await;
    let held = world.submit(CreateTask { estimated_tokens: 60u32.into(), ..titled("held") }).await;
    world.dispatcher.dispatch(&held).await.unwrap();
    let next = world.submit(CreateTask { estimated_tokens: 40u32.into(), ..titled("next") }).await;
    let said = prospects(&world, &next).await;
    let figures: Vec<_> = said.agents[0]
        .limits
        .iter()
        .map(|limit| {
            let name = format!("{} {}", limit.key.meter, limit.key.window);
            (name, limit.used.get(), limit.reserved.get(), limit.asked.get(), limit.cap.get(), limit.room)
        })
        .collect();
    let expected =
        [("tokens day".to_owned(), 0, 60, 40, 100, true), ("jobs day".to_owned(), 0, 1, 1, 1, false)];
    assert_eq!(figures, expected);
    assert_eq!(said.agents[0].limits[1].frees_at, None, "a reservation may end at any moment");
    let agent = world.fleet.agents().get(&id("a")).await.unwrap();
    world.start_assigned(&agent).await;
    let said = prospects(&world, &next).await;
    assert_eq!((said.choice, said.agents[0].standing), (None, Standing::Limit));
    let midnight = "2026-03-05T00:00:00.000Z".parse().unwrap();
    assert_eq!(said.agents[0].limits[1].frees_at, Some(midnight));
    assert_eq!(said.agents[0].retry_at, Some(midnight));
}

#[tokio::test]
async fn who_did_not_start_its_work_is_skipped_and_who_was_not_heard_is_waited_for() {
    let world = World::new();
    let reaper = world.fleet.reaper();
    let slow = world.agent("slow", &[], 0).await;
    let task = world.submit(titled("x")).await;
    world.dispatcher.dispatch(&task).await.unwrap();
    // In the grace after a start, an agent with an expired attempt is heard first.
    let claimed = world.submit(titled("y")).await;
    world.agent("silent", &[], 0).await;
    let claim = ClaimTask { agent_id: id("silent"), lease_secs: Some(1) };
    world.fleet.tasks().claim(&claimed.id, &claim).await.unwrap();
    world.pass(2);
    let other = world.submit(titled("z")).await;
    let said = prospects(&world, &other).await;
    let of = |said: &Prospects, name: &str| {
        said.agents.iter().find(|agent| agent.agent_id.as_str() == name).map(|agent| agent.standing)
    };
    assert_eq!(of(&said, "silent"), Some(Standing::Grace));
    for _ in 0..70 {
        world.fleet.agents().heartbeat(&slow.id, <_>::default()).await.unwrap();
        world.pass_watched(&reaper, 1).await;
        if of(&prospects(&world, &other).await, "slow") == Some(Standing::Skipped) {
            return;
        }
    }
    panic!("never skipped");
}

#[tokio::test]
async fn what_a_state_means_is_told() {
    let world = World::new();
    let first = world.submit(CreateTask { id: "first".into(), ..titled("first") }).await;
    let waits = CreateTask { id: "waits".into(), dependencies: vec![id("first")], ..titled("waits") };
    let waits = world.submit(waits).await;
    let text = |text: &str| text.to_owned();
    assert_eq!(
        cause(&world, &waits.id).await,
        (text("dependency"), text("waits for task first, which is pending"), None)
    );
    let later = CreateTask { not_before: Some(world.now().plus(Duration::from_mins(1))), ..titled("later") };
    let later = world.submit(later).await;
    let (code, _, until) = cause(&world, &later.id).await;
    assert_eq!((code.as_str(), until.as_deref()), ("not_before", Some("2026-03-04T12:01:00.000Z")));
    assert_eq!(cause(&world, &first.id).await.0, "queued");

    let agent = world.agent("a", &[], 0).await;
    world.dispatcher.dispatch(&first).await.unwrap();
    let (code, detail, until) = cause(&world, &first.id).await;
    assert_eq!((code.as_str(), until.as_deref()), ("assigned", Some("2026-03-04T12:01:00.000Z")));
    assert!(detail.starts_with("agent a was given attempt 1"), "{detail}");
    let started = world.start_assigned(&agent).await.remove(0);
    let (code, detail, _) = cause(&world, &first.id).await;
    assert_eq!(code, "running");
    assert!(detail.contains("runs attempt 1 since 2026-03-04T12:00:00.000Z, at 0 %"), "{detail}");
    assert_eq!(explain(&world, &first.id).await.prospects, None, "nobody is asked for what runs");
    world.pass(61);
    assert!(cause(&world, &first.id).await.1.contains("lease has run out"));

    world.complete(&started, false).await;
    let (code, _, until) = cause(&world, &first.id).await;
    assert_eq!(code, "backoff");
    assert!(until.is_some());
    world.fleet.tasks().cancel(&first.id, String::new()).await.unwrap();
    assert_eq!(cause(&world, &first.id).await.0, "cancelled");
    let (_, detail, _) = cause(&world, &waits.id).await;
    assert_eq!(detail, "waits for task first, which is cancelled, and will not be by itself");
    let block = PatchTask {
        status: Some(TaskStatus::Blocked),
        notes: Some("a person".into()),
        ..PatchTask::default()
    };
    world.fleet.tasks().patch(&Caller::Operator, &waits.id, &block).await.unwrap();
    let codes: Vec<String> =
        explain(&world, &waits.id).await.because.into_iter().map(|reason| reason.code).collect();
    assert_eq!(codes, ["dependency", "manual"], "both must clear");
    let done = world.submit(titled("done")).await;
    world.dispatcher.dispatch(&done).await.unwrap();
    let done = world.start_assigned(&agent).await.remove(0);
    world.complete(&done, true).await;
    assert_eq!(cause(&world, &done.id).await.0, "completed");
    let given_up = PatchTask { status: Some(TaskStatus::Failed), ..PatchTask::default() };
    world.fleet.tasks().patch(&Caller::Operator, &later.id, &given_up).await.unwrap();
    let (code, detail, _) = cause(&world, &later.id).await;
    assert_eq!(code, "failed");
    assert!(detail.contains("a requeue puts it back"), "{detail}");
    let gone = world.fleet.tasks().explain(&id("nope"), &LeastLoaded, 1).await;
    assert!(matches!(gone, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn a_lane_says_why_it_does_not_move() {
    let world = World::new();
    world.agent("a", &["go"], 0).await;
    let task = world.submit(labelled("x", &["gpu"])).await;
    world.dispatcher.tick().await.unwrap();
    let tasks = world.fleet.tasks();
    let lane = |text: &str| tasks.explain_lane(id(text), &LeastLoaded, 9);
    let stuck = lane("gpu||").await.unwrap();
    assert_eq!((stuck.head, stuck.because[0].code.as_str()), (Some(task.id), "no_agent"));
    assert_eq!(stuck.prospects.agents[0].standing, Standing::Labels);
    let empty = lane("go||").await.unwrap();
    assert_eq!((empty.head, empty.because[0].code.as_str()), (None, "empty"));
    assert_eq!(empty.prospects.choice, Some(id("a")), "who could take what would come");
}

/// In many fleets, made up by a seed: whom an explanation and a dry run name is whom the dispatcher chooses.
#[tokio::test]
async fn who_is_told_is_who_gets_it() {
    let mut rng = fastrand::Rng::with_seed(11);
    let (mut given, mut refused) = (0, 0);
    for _ in 0..20 {
        let world = World::new();
        for n in 0..rng.u32(1..70) {
            let (name, label) = (format!("a{n:02}"), if rng.bool() { "go" } else { "rust" });
            world.agent(&name, &[label], rng.u32(0..4)).await;
            if rng.bool() {
                let (tokens, jobs) = (rng.u32(1..40), rng.u32(0..3));
                world
                    .allow(&name, |limits| {
                        (limits.daily_token_limit, limits.daily_job_limit) = (tokens.into(), jobs.into());
                    })
                    .await;
            }
        }
        for _ in 0..rng.usize(5..90) {
            let create = CreateTask {
                estimated_tokens: rng.u32(0..50).into(),
                priority: if rng.bool() { Priority::Critical } else { Priority::Low },
                ..labelled("x", &[if rng.bool() { "go" } else { "rust" }])
            };
            let dry = dry_run(&world, vec![create.clone()]).await.unwrap().remove(0).prospects.unwrap();
            let task = world.submit(create).await;
            let said = prospects(&world, &task).await;
            assert_eq!(said.choice, dry.choice);
            assert_eq!(
                said.choice.as_ref(),
                said.agents.first().filter(|a| a.standing == Standing::Fits).map(|a| &a.agent_id)
            );
            match world.dispatcher.dispatch(&task).await {
                Ok(agent) => {
                    assert_eq!(said.choice, Some(agent));
                    given += 1;
                }
                Err(error) => {
                    assert_eq!(said.choice, None, "{error}");
                    refused += 1;
                }
            }
        }
    }
    assert!(given > 500 && refused > 50, "{given} {refused}");
}

/// Whatever the size of the fleet: a bounded number of reads, and a word on those that are not told.
#[tokio::test]
async fn a_large_fleet_is_explained_in_bounded_reads() {
    let (ports, counting) = Counting::new(Memory::new().ports());
    let world = World::over(ports, policy());
    for n in 0..5_000 {
        let name: AgentId = id(&format!("a{n:04}"));
        world.agent(name.as_str(), &[], 0).await;
        let limits = AgentAllowance { daily_token_limit: 10u32.into(), ..AgentAllowance::unlimited(name) };
        world.fleet.ports().allowances.set_allowance(limits, world.now()).await.unwrap();
    }
    let task = world.submit(CreateTask { estimated_tokens: 11u32.into(), ..titled("x") }).await;
    let before = counting.calls("allowances.readings");
    let said = world.fleet.tasks().explain(&task.id, &LeastLoaded, 20).await.unwrap().prospects.unwrap();
    assert_eq!((said.choice, said.agents.len()), (None, 20));
    assert!(said.agents.iter().all(|agent| agent.standing == Standing::Limit));
    let told: u64 = said.others.values().sum();
    assert_eq!(told, 4_980, "{:?}", said.others);
    assert!(said.others[&Standing::NotAsked] > 2_000, "{:?}", said.others);
    assert!(counting.calls("allowances.readings") - before <= 10);
    // The one with room is found, wherever it stands in the order.
    world.allow("a1500", |limits| limits.daily_token_limit = 11u32.into()).await;
    for n in (0..5_000).filter(|n| !(1_000..2_500).contains(n)) {
        world.fleet.agents().deregister(&id(&format!("a{n:04}"))).await.unwrap();
    }
    let before = counting.calls("allowances.readings");
    let said = world.fleet.tasks().explain(&task.id, &LeastLoaded, 0).await.unwrap().prospects.unwrap();
    assert_eq!((said.choice, said.agents.len()), (Some(id("a1500")), 0));
    assert_eq!(said.others.values().sum::<u64>(), 1_500);
    assert!(counting.calls("allowances.readings") - before <= 10);
    let said = world.fleet.tasks().explain(&task.id, &LeastLoaded, 1_001).await;
    assert!(matches!(said, Err(Error::Invalid { .. })));
}

#[tokio::test]
async fn a_dry_run_writes_nothing() {
    let memory = Memory::new();
    let world = World::over(memory.ports(), policy());
    world.agent("a", &[], 1).await;
    world.submit(CreateTask { id: "there".into(), ..titled("there") }).await;
    let before = format!("{memory:?}");
    let after = CreateTask { dependencies: vec![id("there")], ..titled("after") };
    let keyed = CreateTask { idempotency_key: Some("k".into()), ..titled("keyed") };
    let said = dry_run(&world, vec![titled("x"), after, keyed.clone()]).await.unwrap();
    let statuses: Vec<TaskStatus> = said.iter().map(|said| said.task.status).collect();
    assert_eq!(statuses, [TaskStatus::Pending, TaskStatus::Blocked, TaskStatus::Pending]);
    assert_eq!(said[1].because[0].detail, "waits for task there, which is pending");
    assert_eq!(said[0].prospects.as_ref().unwrap().choice, Some(id("a")));
    for bad in [titled(""), CreateTask { id: "there".into(), ..titled("again") }] {
        dry_run(&world, vec![titled("x"), bad]).await.unwrap_err();
    }
    assert_eq!(format!("{memory:?}"), before, "not a byte of the store has changed");
    let made = world.submit(keyed.clone()).await;
    assert_ne!(format!("{memory:?}"), before, "which creating does");
    let again = dry_run(&world, vec![keyed.clone()]).await.unwrap().remove(0);
    assert_eq!((&again.task.id, again.because[0].code.as_str()), (&made.id, "exists"));
    assert_eq!((again.because[1].code.as_str(), again.prospects.unwrap().choice), ("queued", Some(id("a"))));
    let other = CreateTask { title: "another".into(), ..keyed };
    let refused = dry_run(&world, vec![other]).await.unwrap_err();
    assert!(refused.is_conflict(ConflictCode::IdempotencyMismatch));
}

#[tokio::test]
async fn a_dry_run_refuses_what_creating_refuses() {
    let world = World::new();
    let agent = world.agent("a", &[], 0).await;
    for name in ["open", "done", "off"] {
        world.submit(CreateTask { id: name.into(), ..titled(name) }).await;
    }
    let claim = ClaimTask { agent_id: agent.id.clone(), lease_secs: None };
    world.fleet.tasks().claim(&id("done"), &claim).await.unwrap();
    let done = world.task(&id("done")).await;
    world.complete(&done, true).await;
    world.fleet.tasks().cancel(&id("off"), String::new()).await.unwrap();
    let after =
        |name: &str, on: &str| CreateTask { id: name.into(), dependencies: vec![id(on)], ..titled(name) };
    let field = |answer: Result<Vec<Explanation>>| match answer.unwrap_err() {
        Error::Invalid { field, .. } => field,
        other => panic!("{other:?}"),
    };
    let exists = dry_run(&world, vec![CreateTask { id: "open".into(), ..titled("x") }]).await.unwrap_err();
    assert!(exists.is_conflict(ConflictCode::Exists));
    assert_eq!(field(dry_run(&world, vec![after("x", "nope")]).await), "dependencies");
    assert_eq!(field(dry_run(&world, vec![after("x", "y"), after("y", "x")]).await), "dependencies");
    assert_eq!(field(dry_run(&world, vec![]).await), "tasks");
    assert_eq!(field(dry_run(&world, vec![CreateTask { id: "a b".into(), ..titled("x") }]).await), "task_id");
    let many: Vec<CreateTask> = (0..1_001).map(|n| after(&format!("x{n}"), &format!("nope{n}"))).collect();
    assert_eq!(field(dry_run(&world, many).await), "tasks");

    let said = dry_run(&world, vec![after("x", "done"), after("y", "off"), after("z", "x")]).await.unwrap();
    let statuses: Vec<TaskStatus> = said.iter().map(|said| said.task.status).collect();
    assert_eq!(statuses, [TaskStatus::Pending, TaskStatus::Blocked, TaskStatus::Blocked]);
    assert_eq!(said[1].because[0].detail, "waits for task off, which is cancelled");
    let created =
        world.fleet.tasks().create(vec![after("x", "done"), after("y", "off")], None).await.unwrap();
    let created: Vec<TaskStatus> = created.iter().map(|created| created.task.status).collect();
    assert_eq!(created, statuses[..2], "as creating answers");
}

/// A dry run of many tasks looks at each need once, and at a hundred at most.
#[tokio::test]
async fn a_dry_run_of_many_is_bounded() {
    let (ports, counting) = Counting::new(Memory::new().ports());
    let world = World::over(ports, policy());
    world.agent("a", &[], 0).await;
    let before = counting.calls("allowances.readings");
    dry_run(&world, (0..1_000).map(|_| titled("x")).collect()).await.unwrap();
    assert_eq!(counting.calls("allowances.readings") - before, 1);
    let said = dry_run(&world, (0..130).map(|n| labelled("x", &[&format!("l{n}")])).collect()).await.unwrap();
    assert_eq!(said.iter().filter(|said| said.prospects.is_none()).count(), 30);
    assert_eq!(said[129].because[1].code, "not_asked");
    assert_eq!(world.fleet.tasks().counts().await.unwrap(), [].into());
}
