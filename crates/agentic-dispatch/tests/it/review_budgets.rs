//! Usage and fences where agents report what is not theirs, not yet, or not any more.

use agentic_core::{
    allowance::{ModelQuota, Price, UsageEvent, UsageReport},
    api::{ClaimTask, CreateTask, HeartbeatBody, RunningAttempt},
    budget::{Budget, BudgetLimit},
    error::ConflictCode,
    id::AgentId,
    limit::{Meter, Scope, Window},
    memory::Memory,
    task::{Task, TaskStatus},
    usage::Directive,
};

use crate::{
    crashes::apart,
    world::{World, policy, titled},
};

fn id(agent: &str) -> AgentId {
    agent.parse().unwrap()
}

fn report(agent: &str, job: &str, tokens: u32, event: UsageEvent) -> UsageReport {
    UsageReport { tokens_in: tokens.into(), ..UsageReport::new(id(agent), job.parse().unwrap(), event) }
}

async fn tokens(world: &World, agent: &str) -> u64 {
    world.fleet.allowances().usage(&id(agent)).await.unwrap().tokens_used.get()
}

/// A running attempt of agent `a`, and its job's name.
async fn running(world: &World) -> (Task, String) {
    let agent = world.agent("a", &[], 0).await;
    world.submit(titled("x")).await;
    world.dispatcher.tick().await.unwrap();
    let task = world.start_assigned(&agent).await.remove(0);
    let job = format!("{}#{}", task.id, task.attempt);
    (task, job)
}

#[tokio::test]
async fn a_stranger_neither_charges_nor_settles_an_attempt() {
    let world = World::new();
    let (task, job) = running(&world).await;
    world.agent("b", &[], 0).await;
    for event in [UsageEvent::JobProgress, UsageEvent::JobCancelled] {
        let answer = world.fleet.allowances().record_usage(report("b", &job, 50, event)).await;
        assert!(answer.unwrap_err().is_conflict(ConflictCode::NotHolder));
    }
    assert_eq!((tokens(&world, "a").await, tokens(&world, "b").await), (0, 0));
    let own = world.fleet.allowances().record_usage(report("a", &job, 7, UsageEvent::JobProgress)).await;
    assert_eq!(own.unwrap().directive, Directive::Continue);
    assert_eq!(world.complete(&task, true).await.status, TaskStatus::Completed);
    assert_eq!(tokens(&world, "a").await, 7);
}

#[tokio::test]
async fn the_report_of_an_attempt_that_is_over_settles_it_as_it_is_recorded() {
    for (event, said) in [(UsageEvent::JobCompleted, "completed"), (UsageEvent::JobFailed, "failed")] {
        let world = World::new();
        let (task, job) = running(&world).await;
        world.fleet.tasks().cancel(&task.id, String::new()).await.unwrap();
        world.fleet.allowances().record_usage(report("a", &job, 50, event)).await.unwrap();
        assert_eq!(tokens(&world, "a").await, 0, "the task was called off, whatever its agent says: {said}");
    }
}

#[tokio::test]
async fn a_report_for_an_attempt_to_come_does_not_keep_its_task_from_running() {
    let world = World::new();
    let task = world.submit(titled("x")).await;
    let job = format!("{}#1", task.id);
    let answer = world.fleet.allowances().record_usage(report("z", &job, 5, UsageEvent::JobStarted)).await;
    assert!(answer.unwrap().unadmitted);
    world.agent("a", &[], 0).await;
    assert_eq!(world.dispatcher.tick().await.unwrap().dispatched, 1);
    assert_eq!((tokens(&world, "z").await, tokens(&world, "a").await), (5, 0));
}

#[tokio::test]
async fn reports_for_a_job_that_nobody_admitted_take_no_place() {
    let world = World::new();
    let registered = world.agent("a", &[], 0).await;
    world.allow("a", |limit| limit.concurrent_jobs = 1u32.into()).await;
    let stray = |tokens| report("a", "nobody-s#1", tokens, UsageEvent::JobProgress);
    assert!(world.fleet.allowances().record_usage(stray(7)).await.unwrap().unadmitted);
    world.submit(titled("x")).await;
    assert_eq!(world.dispatcher.tick().await.unwrap().dispatched, 1);
    world.start_assigned(&registered).await;
    world.fleet.allowances().record_usage(stray(9)).await.unwrap();
    world.pass(world.fleet.policy().claim_lease.as_secs());
    assert!(world.fleet.reaper().sweep().await.unwrap().settled > 0);
    let job = world.fleet.ports().allowances.job(&"nobody-s#1".parse().unwrap()).await.unwrap().unwrap();
    assert!(!job.state.is_open(), "{job:?}");
    assert_eq!(tokens(&world, "a").await, 9, "and nothing is given back for it");
}

#[tokio::test]
async fn a_report_that_is_repeated_is_charged_once_however_long_its_task_stays_open() {
    let world = World::new();
    let (task, job) = running(&world).await;
    let say =
        async || world.fleet.allowances().record_usage(report("a", &job, 50, UsageEvent::JobProgress)).await;
    say().await.unwrap();
    world.complete(&task, false).await;
    let used = tokens(&world, "a").await;
    // Past both retentions; the second attempt waits.
    for _ in 0..2 {
        world.pass(40 * 86_400);
        world.fleet.reaper().sweep().await.unwrap();
    }
    assert!(!world.task(&task.id).await.status.is_final());
    say().await.unwrap();
    assert_eq!((used, tokens(&world, "a").await), (25, 0), "nothing new on the later day");
}

#[tokio::test]
async fn a_task_with_the_id_of_a_pruned_one_runs() {
    let apart = apart(&Memory::new().ports(), &Memory::new().ports());
    for world in [World::new(), World::over(apart, policy())] {
        let agent = world.agent("a", &[], 0).await;
        for _ in 0..2 {
            let task = world.submit(CreateTask { id: "again".to_owned(), ..titled("x") }).await;
            assert_eq!(world.dispatcher.tick().await.unwrap().dispatched, 1);
            let started = world.start_assigned(&agent).await;
            world.complete(&started[0], true).await;
            world.pass(1);
            let pruned = world.fleet.ports().tasks.prune(world.now(), 10, world.now()).await.unwrap();
            assert_eq!(pruned, 1, "{}", task.id);
        }
        assert_eq!(world.fleet.allowances().usage(&agent.id).await.unwrap().jobs_started.get(), 2);
    }
}

#[tokio::test]
async fn another_models_use_has_a_price_or_a_cost_under_a_limit_on_spend() {
    let world = World::new();
    let (task, job) = running(&world).await;
    let spend = BudgetLimit::new(Meter::Cost, Window::Day, 1_000_000u32.into());
    let budget = Budget { limits: vec![spend], ..Budget::new(Scope::Agent(id("a"))) };
    world.fleet.allowances().set_budget(budget).await.unwrap();
    let other = |model: &str, tokens| UsageReport {
        model: Some(model.parse().unwrap()),
        ..report("a", &job, tokens, UsageEvent::JobProgress)
    };
    let say = async |report| world.fleet.allowances().record_usage(report).await.unwrap();
    let priced = ModelQuota {
        price: Some(Price::flat(1u32.into(), 1u32.into())),
        ..ModelQuota::unlimited("priced".parse().unwrap())
    };
    world.fleet.allowances().set_model(priced).await.unwrap();
    assert_eq!(say(other("priced", 10)).await.directive, Directive::Continue);
    let honest = UsageReport { cost_micros: Some(7u32.into()), ..other("free", 10) };
    assert_eq!(say(honest).await.directive, Directive::Continue);
    assert_eq!(say(other("free", 20)).await.directive, Directive::Continue, "its cost is known");
    assert_eq!(say(other("wild", 0)).await.directive, Directive::Continue, "nothing was used");
    let answer = say(other("wild", 9_000_000)).await;
    let reason = answer.reason.unwrap();
    assert_eq!(answer.directive, Directive::Stop, "{reason}");
    assert!(reason.contains("wild") && reason.contains("price") && reason.contains("report"), "{reason}");
    let payloads = world.events().await.into_iter().filter_map(|event| event.payload);
    assert_eq!(payloads.filter(|payload| payload["event"] == "job_stopped").count(), 1);
    let used = tokens(&world, "a").await;
    world.fleet.tasks().cancel(&task.id, String::new()).await.unwrap();
    assert_eq!(say(other("priced", 10)).await.directive, Directive::Stop);
    assert_eq!(tokens(&world, "a").await, used, "what was stopped gives nothing back");
}

#[tokio::test]
async fn usage_of_another_model_is_an_act_of_the_holder_too() {
    let world = World::new();
    let agent = world.agent("a", &[], 0).await;
    let task = world.submit(titled("x")).await;
    world.dispatcher.tick().await.unwrap();
    let quota =
        ModelQuota { daily_token_budget: 100u32.into(), ..ModelQuota::unlimited("m".parse().unwrap()) };
    world.fleet.allowances().set_model(quota).await.unwrap();
    world.pass(50);
    let job = format!("{}#1", task.id);
    let other =
        UsageReport { model: Some("m".parse().unwrap()), ..report("a", &job, 95, UsageEvent::JobProgress) };
    let answer = world.fleet.allowances().record_usage(other).await.unwrap();
    assert_eq!(answer.directive, Directive::WrapUp);
    let task = world.task(&task.id).await;
    assert_eq!(task.lease_expires_at.unwrap().since(world.now()).as_secs(), 60, "renewed");
    let left = world.fleet.agents().assignments(&agent.id, 1, std::time::Duration::ZERO).await.unwrap();
    assert_eq!(left, [], "started");
}

#[tokio::test]
async fn a_registered_agent_beats_for_what_it_took_itself() {
    let world = World::new();
    let agent = world.agent("a", &[], 0).await;
    let task = world.submit(titled("x")).await;
    let claim = ClaimTask { agent_id: agent.id.clone(), lease_secs: Some(60) };
    world.fleet.tasks().claim(&task.id, &claim).await.unwrap();
    let running = RunningAttempt { task_id: task.id.clone(), attempt: 1, usage: None };
    let beat =
        |incarnation| HeartbeatBody { incarnation: Some(incarnation), attempts: vec![running.clone()] };
    let answer = world.fleet.agents().heartbeat(&agent.id, beat(1)).await.unwrap();
    assert_eq!(answer.directives[0].directive, Directive::Continue, "{answer:?}");
    world.agent("a", &[], 0).await;
    let answer = world.fleet.agents().heartbeat(&agent.id, beat(2)).await.unwrap();
    assert_eq!(answer.directives[0].directive, Directive::Stop, "it belongs to the start that took it");
}
