//! Limits through the services: exactly at, one under, one over; tokens that run out mid-task.

use agentic_core::{
    allowance::{CostBasis, ModelQuota, QuotaCheck, QuotaStatus, UsageEvent, UsageReport},
    api::CreateTask,
    error::Error,
    event::EventType,
    id::{AgentId, ModelName},
    task::TaskStatus,
    usage::Directive,
};

use crate::world::{World, titled};

fn agent() -> AgentId {
    "a".parse().unwrap()
}

fn model() -> ModelName {
    "m".parse().unwrap()
}

fn report(job: &str, tokens: u32, event: UsageEvent) -> UsageReport {
    UsageReport {
        model: Some(model()),
        tokens_in: tokens.into(),
        ..UsageReport::new(agent(), job.parse().unwrap(), event)
    }
}

async fn check(world: &World) -> QuotaCheck {
    world.fleet.allowances().check(&agent(), Some(&model())).await.unwrap()
}

async fn use_up(world: &World, job: &str, tokens: u32, event: UsageEvent) {
    world.fleet.allowances().record_usage(report(job, tokens, event)).await.unwrap();
}

#[tokio::test]
async fn daily_tokens_at_one_under_and_one_over() {
    for (used, allowed) in [(99, true), (100, false), (101, false)] {
        let world = World::new();
        world.allow("a", |limit| limit.daily_token_limit = 100u32.into()).await;
        use_up(&world, "j", used, UsageEvent::JobCompleted).await;
        let check = check(&world).await;
        assert_eq!(check.allowed, allowed, "{used}: {check:?}");
        assert_eq!(check.remaining_tokens.unwrap().get(), u64::from(100u32.saturating_sub(used)));
        assert_eq!(check.status, if allowed { QuotaStatus::Warning } else { QuotaStatus::Exceeded });
    }
}

#[tokio::test]
async fn daily_jobs_at_one_under_and_one_over() {
    for (jobs, allowed) in [(2, true), (3, false), (4, false)] {
        let world = World::new();
        world.allow("a", |limit| limit.daily_job_limit = 3u32.into()).await;
        for job in 0..jobs {
            use_up(&world, &format!("j{job}"), 0, UsageEvent::JobCompleted).await;
        }
        let check = check(&world).await;
        assert_eq!(check.allowed, allowed, "{jobs}: {check:?}");
        assert_eq!(check.remaining_jobs.unwrap().get(), 3u64.saturating_sub(jobs));
    }
}

#[tokio::test]
async fn concurrent_jobs_at_one_under_and_one_over() {
    for (jobs, admitted, allowed) in [(1, 1, true), (2, 2, false), (3, 2, false)] {
        let world = World::new();
        let registered = world.agent("a", &[], 0).await;
        world.allow("a", |limit| limit.concurrent_jobs = 2u32.into()).await;
        for _ in 0..jobs {
            world.submit(titled("x")).await;
        }
        assert_eq!(world.dispatcher.tick().await.unwrap().dispatched, admitted, "{jobs}");
        assert_eq!(check(&world).await.allowed, allowed, "{jobs}");
        let started = world.start_assigned(&registered).await;
        world.complete(&started[0], true).await;
        assert!(check(&world).await.allowed, "{jobs}: one ended");
    }
}

#[tokio::test]
async fn the_allowlist_refuses_other_models_and_no_model() {
    let world = World::new();
    world.allow("a", |limit| limit.model_allowlist = ["other".parse().unwrap()].into()).await;
    assert!(!check(&world).await.allowed);
    assert!(!world.fleet.allowances().check(&agent(), None).await.unwrap().allowed);
    let other = "other".parse().unwrap();
    assert!(world.fleet.allowances().check(&agent(), Some(&other)).await.unwrap().allowed);
}

#[tokio::test]
async fn a_models_daily_budget_is_shared_by_all_agents() {
    for (used, allowed) in [(99, true), (100, false), (101, false)] {
        let world = World::new();
        let quota = ModelQuota { daily_token_budget: 100u32.into(), ..ModelQuota::unlimited(model()) };
        world.fleet.allowances().set_model(quota).await.unwrap();
        let other =
            UsageReport { agent_id: "b".parse().unwrap(), ..report("j", used, UsageEvent::JobCompleted) };
        world.fleet.allowances().record_usage(other).await.unwrap();
        assert_eq!(check(&world).await.allowed, allowed, "{used}");
    }
}

#[tokio::test]
async fn a_models_hourly_limit_frees_after_the_hour() {
    for (requests, allowed) in [(1, true), (2, false), (3, false)] {
        let world = World::new();
        let quota = ModelQuota { hourly_rate_limit: 2u32.into(), ..ModelQuota::unlimited(model()) };
        world.fleet.allowances().set_model(quota).await.unwrap();
        for job in 0..requests {
            use_up(&world, &format!("j{job}"), 0, UsageEvent::JobCompleted).await;
        }
        let check_now = check(&world).await;
        assert_eq!(check_now.allowed, allowed, "{requests}");
        assert_eq!(world.fleet.allowances().hourly_usage(&agent(), &model()).await.unwrap().get(), requests);
        if let Some(at) = check_now.retry_at {
            let wait = at.since(world.now()).as_secs();
            assert_eq!(wait, 3_660, "61 buckets of a minute");
            world.pass(wait - 1);
            assert!(!check(&world).await.allowed);
            world.pass(1);
            assert!(check(&world).await.allowed);
        }
    }
}

#[tokio::test]
async fn a_cost_ceiling_holds_reported_cost() {
    for (cost, allowed) in [(19_999u32, true), (20_000, false), (20_001, false)] {
        let world = World::new();
        let quota = ModelQuota {
            cost_ceiling: 2u32.into(),
            cost: CostBasis::Reported,
            ..ModelQuota::unlimited(model())
        };
        world.fleet.allowances().set_model(quota).await.unwrap();
        let spent = UsageReport { cost_micros: Some(cost.into()), ..report("j", 1, UsageEvent::JobFailed) };
        world.fleet.allowances().record_usage(spent).await.unwrap();
        assert_eq!(check(&world).await.allowed, allowed, "{cost}: spent money is never given back");
        let read = world.fleet.allowances().models().await.unwrap().remove(0);
        assert_eq!(read.usage.unwrap().cost_micros.get(), u64::from(cost), "an operator sees the spend");
        // What was read can be set again.
        world.fleet.allowances().set_model(read).await.unwrap();
        let stored = world.fleet.ports().allowances.model_quota(&model()).await.unwrap().unwrap();
        assert_eq!(stored.usage, None);
    }
}

#[tokio::test]
async fn a_ceiling_without_a_price_refuses() {
    let world = World::new();
    let quota = ModelQuota { cost_ceiling: 2u32.into(), ..ModelQuota::unlimited(model()) };
    world.fleet.allowances().set_model(quota).await.unwrap();
    let check = check(&world).await;
    assert!(!check.allowed && check.reason.unwrap().contains("no price"));
}

#[tokio::test]
async fn refunds_are_half_on_failure_and_all_on_cancellation() {
    for (event, left) in
        [(UsageEvent::JobCompleted, 7), (UsageEvent::JobFailed, 4), (UsageEvent::JobCancelled, 0)]
    {
        let world = World::new();
        use_up(&world, "j", 7, event).await;
        use_up(&world, "j", 7, event).await;
        assert_eq!(
            world.fleet.allowances().usage(&agent()).await.unwrap().tokens_used.get(),
            left,
            "{event:?}"
        );
        assert_eq!(world.fleet.ports().allowances.verify().await.unwrap(), []);
    }
}

#[tokio::test]
async fn tokens_that_run_out_mid_task_stop_it_within_one_report() {
    let world = World::new();
    let registered = world.agent("a", &[], 0).await;
    world.allow("a", |limit| limit.daily_token_limit = 100u32.into()).await;
    let task = world.submit(CreateTask { max_retries: Some(1), ..titled("x") }).await;
    world.dispatcher.tick().await.unwrap();
    let started = world.start_assigned(&registered).await;
    let job = format!("{}#{}", task.id, started[0].attempt);
    let say = |tokens| UsageReport { model: None, ..report(&job, tokens, UsageEvent::JobProgress) };
    let allowances = world.fleet.allowances();
    let mut told = Vec::new();
    for tokens in [79, 89, 90, 110] {
        let answer = allowances.record_usage(say(tokens)).await.unwrap();
        told.push((answer.directive, answer.remaining_tokens.map(agentic_core::amount::Amount::get)));
    }
    assert_eq!(
        told,
        [
            (Directive::Continue, Some(21)),
            (Directive::Continue, Some(11)),
            (Directive::WrapUp, Some(10)),
            (Directive::Stop, None),
        ]
    );
    assert_eq!(world.count(EventType::QuotaWarning).await, 1);
    let failed = world.complete(&started[0], false).await;
    assert_eq!((failed.status, failed.retry_count), (TaskStatus::Pending, 1), "an ordinary failed attempt");
    let usage = allowances.usage(&agent()).await.unwrap();
    assert_eq!(usage.tokens_used.get(), 110, "a stopped job refunds nothing");
    world.pass(10);
    assert_eq!(world.dispatcher.tick().await.unwrap().dispatched, 0);
    assert_eq!(world.task(&task.id).await.pending_reason.unwrap().code, "quota");
    world.agent("b", &[], 0).await;
    assert_eq!(world.dispatcher.tick().await.unwrap().dispatched, 1, "an agent with room takes it");
}

#[tokio::test]
async fn a_live_attempts_ending_report_only_charges() {
    let world = World::new();
    let registered = world.agent("a", &[], 0).await;
    let task = world.submit(titled("x")).await;
    world.dispatcher.tick().await.unwrap();
    let started = world.start_assigned(&registered).await;
    let job = format!("{}#{}", task.id, started[0].attempt);
    let ended = UsageReport { model: None, ..report(&job, 50, UsageEvent::JobCancelled) };
    world.fleet.allowances().record_usage(ended).await.unwrap();
    assert_eq!(world.fleet.allowances().usage(&agent()).await.unwrap().tokens_used.get(), 50);
    assert_eq!(world.task(&task.id).await.status, TaskStatus::InProgress);
    world.complete(&started[0], true).await;
    assert_eq!(world.fleet.allowances().usage(&agent()).await.unwrap().tokens_used.get(), 50);
}

#[tokio::test]
async fn a_bare_task_id_means_the_current_attempt() {
    let world = World::new();
    let registered = world.agent("a", &[], 0).await;
    let task = world.submit(titled("x")).await;
    world.dispatcher.tick().await.unwrap();
    world.start_assigned(&registered).await;
    let go = UsageReport { model: None, ..report(task.id.as_str(), 30, UsageEvent::JobProgress) };
    let answer = world.fleet.allowances().record_usage(go).await.unwrap();
    assert!(!answer.unadmitted, "{answer:?}");
    assert_eq!(world.fleet.allowances().usage(&agent()).await.unwrap().tokens_used.get(), 30);
}

#[tokio::test]
async fn reset_starts_the_day_anew() {
    let world = World::new();
    world.allow("a", |limit| limit.daily_token_limit = 10u32.into()).await;
    use_up(&world, "j", 10, UsageEvent::JobCompleted).await;
    assert!(!check(&world).await.allowed);
    world.fleet.allowances().reset_agent(&agent()).await.unwrap();
    assert!(check(&world).await.allowed);
    assert_eq!(world.fleet.ports().allowances.verify().await.unwrap(), []);
}

#[tokio::test]
async fn midnight_needs_no_job() {
    let world = World::new();
    world.allow("a", |limit| limit.daily_token_limit = 10u32.into()).await;
    use_up(&world, "j", 10, UsageEvent::JobCompleted).await;
    let at = check(&world).await.retry_at.unwrap();
    world.clock.set(agentic_core::clock::Timestamp::from_millis(at.millis() - 1));
    assert!(!check(&world).await.allowed);
    world.clock.set(at);
    assert!(check(&world).await.allowed);
}

#[tokio::test]
async fn a_job_counts_a_bounded_number_of_models() {
    let world = World::new();
    let of = |n: u32| UsageReport {
        model: Some(format!("m{n}").parse().unwrap()),
        ..report("j", 1, UsageEvent::JobProgress)
    };
    for n in 0..32 {
        world.fleet.allowances().record_usage(of(n)).await.unwrap();
    }
    match world.fleet.allowances().record_usage(of(32)).await {
        Err(Error::Invalid { field, .. }) => assert_eq!(field, "model"),
        other => panic!("{other:?}"),
    }
    world.fleet.allowances().record_usage(of(31)).await.unwrap();
}
