//! Budgets through the services: exactly at, one under, one over; windows, shadows and holds.

use std::{collections::BTreeSet, time::Duration};

use agentic_core::{
    allowance::{CostBasis, ModelQuota, Price, UsageEvent, UsageReport},
    api::{ClaimTask, CompleteTask, CreateTask, ReleaseTask},
    budget::{Budget, BudgetLimit, LONGEST_HOLD},
    clock::Timestamp,
    error::{ConflictCode, Error, Result},
    event::EventType,
    limit::{Meter, Refusal},
    memory::Memory,
    task::{Task, TaskStatus},
};
use proptest::prelude::*;

use crate::world::{World, by, policy, titled};

pub(crate) fn capped(meter: Meter, window: &str, cap: u32) -> BudgetLimit {
    BudgetLimit::new(meter, window.parse().unwrap(), cap.into())
}

pub(crate) async fn set(world: &World, scope: &str, limits: Vec<BudgetLimit>) -> Budget {
    let budget = Budget { limits, ..Budget::new(scope.parse().unwrap()) };
    world.fleet.allowances().set_budget(budget).await.unwrap()
}

async fn standing(world: &World, scope: &str) -> Vec<(u64, u64, Option<Timestamp>)> {
    let budget = world.fleet.allowances().budget(&scope.parse().unwrap()).await.unwrap();
    let standing = |limit: BudgetLimit| limit.standing.map(|s| (s.used.get(), s.reserved.get(), s.resets_at));
    budget.limits.into_iter().filter_map(standing).collect()
}

/// A model whose token costs a micro-dollar, in or out.
async fn price(world: &World) {
    let price = Price::flat(1_000_000u32.into(), 1_000_000u32.into());
    let quota = ModelQuota { price: Some(price), ..ModelQuota::unlimited("m".parse().unwrap()) };
    world.fleet.allowances().set_model(quota).await.unwrap();
}

/// Submits a task of project `p` and model `m` and has an agent claim it.
async fn take(world: &World, agent: &str, ask: u32) -> Result<Task> {
    let task = CreateTask {
        project: Some("p".parse().unwrap()),
        model: Some("m".parse().unwrap()),
        estimated_tokens: ask.into(),
        ..titled("x")
    };
    let task = world.submit(task).await;
    claim(world, agent, &task).await
}

async fn claim(world: &World, agent: &str, task: &Task) -> Result<Task> {
    let body = ClaimTask { agent_id: agent.parse().unwrap(), lease_secs: Some(86_400) };
    world.fleet.tasks().claim(&task.id, &body).await
}

async fn spend(world: &World, task: &Task, tokens: u32) {
    let report = UsageReport {
        tokens_in: tokens.into(),
        ..UsageReport::new(
            task.claimed_by.clone().unwrap(),
            format!("{}#{}", task.id, task.attempt).parse().unwrap(),
            UsageEvent::JobProgress,
        )
    };
    world.fleet.allowances().record_usage(report).await.unwrap();
}

fn refused(answer: Result<Task>) -> Refusal {
    match answer {
        Err(Error::Refused(refusal)) => *refusal,
        other => panic!("refused, rather than {other:?}"),
    }
}

fn midnight(world: &World) -> Timestamp {
    Timestamp::from_millis((world.now().millis() / 86_400_000 + 1) * 86_400_000)
}

#[tokio::test]
async fn every_scope_holds_its_daily_cap_to_the_token_and_to_the_micro_dollar() {
    for meter in [Meter::Tokens, Meter::Cost] {
        for scope in ["fleet", "project:p", "agent:a", "model:m", "agent:a model:m"] {
            for (used, admitted) in [(99, true), (100, false), (101, false)] {
                let world = World::new();
                price(&world).await;
                set(&world, scope, vec![capped(meter, "day", 100)]).await;
                let first = take(&world, "a", 0).await.unwrap();
                spend(&world, &first, used).await;
                let answer = take(&world, "a", 0).await;
                if admitted {
                    answer.unwrap();
                    continue;
                }
                let refusal = refused(answer);
                let key = refusal.key.clone().unwrap();
                assert_eq!((key.scope.to_string().as_str(), key.meter), (scope, meter));
                assert_eq!((refusal.used.get(), refusal.need.get()), (u64::from(used), 1));
                assert_eq!((refusal.cap.unwrap().get(), refusal.retry_at), (100, Some(midnight(&world))));
                assert_eq!(standing(&world, scope).await, [(used.into(), 0, Some(midnight(&world)))]);
            }
        }
    }
}

#[tokio::test]
async fn a_budget_of_another_scope_does_not_count() {
    let world = World::new();
    for scope in ["project:q", "agent:b", "model:n", "agent:b model:m", "agent:a model:n"] {
        set(&world, scope, vec![capped(Meter::Jobs, "day", 1)]).await;
    }
    for _ in 0..3 {
        take(&world, "a", 0).await.unwrap();
    }
}

#[tokio::test]
async fn the_ask_is_reserved_under_every_budget() {
    let world = World::new();
    set(&world, "fleet", vec![capped(Meter::Tokens, "day", 100)]).await;
    take(&world, "a", 60).await.unwrap();
    let refusal = refused(take(&world, "b", 41).await);
    assert_eq!((refusal.used.get(), refusal.reserved.get(), refusal.need.get()), (0, 60, 41));
    take(&world, "b", 40).await.unwrap();
}

#[tokio::test]
async fn a_meter_that_a_budget_shares_with_an_allowance_counts_once_and_the_lower_cap_holds() {
    for (allowance, budget) in [(50, 100), (100, 50)] {
        let world = World::new();
        world.allow("a", |limits| limits.daily_token_limit = allowance.into()).await;
        set(&world, "agent:a", vec![capped(Meter::Tokens, "day", budget)]).await;
        let first = take(&world, "a", 0).await.unwrap();
        spend(&world, &first, 49).await;
        let second = take(&world, "a", 0).await.unwrap();
        spend(&world, &second, 1).await;
        assert_eq!(refused(take(&world, "a", 0).await).cap.unwrap().get(), 50);
        assert_eq!(standing(&world, "agent:a").await[0].0, 50);
    }
}

#[tokio::test]
async fn what_cannot_be_priced_is_refused_under_any_limit_on_spend() {
    for scope in ["fleet", "project:p", "agent:a", "model:m"] {
        let world = World::new();
        set(&world, scope, vec![capped(Meter::Cost, "day", 100)]).await;
        let refusal = refused(take(&world, "a", 0).await);
        assert!(refusal.key.is_none() && refusal.reason.contains("price"), "{refusal}");
        let reported =
            ModelQuota { cost: CostBasis::Reported, ..ModelQuota::unlimited("m".parse().unwrap()) };
        world.fleet.allowances().set_model(reported).await.unwrap();
        take(&world, "a", 0).await.unwrap();
        price(&world).await;
        take(&world, "a", 0).await.unwrap();
    }
    let world = World::new();
    set(&world, "fleet", vec![capped(Meter::Cost, "day", 100)]).await;
    let task = world.submit(titled("no model")).await;
    assert!(refused(claim(&world, "a", &task).await).reason.contains("names a model"));
}

#[tokio::test]
async fn an_anchored_window_begins_at_its_first_use() {
    let world = World::new();
    set(&world, "fleet", vec![capped(Meter::Jobs, "anchored:3600", 2)]).await;
    assert_eq!(standing(&world, "fleet").await, [(0, 0, None)], "a look begins nothing");
    world.pass(500);
    let began = world.now();
    take(&world, "a", 0).await.unwrap();
    world.pass(3_599);
    take(&world, "a", 0).await.unwrap();
    let end = began.plus(Duration::from_hours(1));
    assert_eq!(refused(take(&world, "a", 0).await).retry_at, Some(end));
    assert_eq!(standing(&world, "fleet").await, [(2, 0, Some(end))]);
}

#[tokio::test]
async fn the_next_window_begins_at_its_first_use_or_where_the_last_ended_if_jobs_go_on() {
    for goes_on in [false, true] {
        let world = World::new();
        set(&world, "fleet", vec![capped(Meter::Tokens, "anchored:3600", 100)]).await;
        let began = world.now();
        let first = take(&world, "a", 0).await.unwrap();
        spend(&world, &first, 60).await;
        if !goes_on {
            world.complete(&first, true).await;
        }
        world.pass(3_600 * 2 + 7);
        if goes_on {
            // What a running job uses after the end counts in the window that it is used in.
            spend(&world, &first, 160).await;
            let refusal = refused(take(&world, "a", 0).await);
            let end = began.plus(Duration::from_hours(3));
            assert_eq!((refusal.used.get(), refusal.retry_at), (100, Some(end)));
        } else {
            let second = take(&world, "a", 0).await.unwrap();
            spend(&world, &second, 100).await;
            let end = began.plus(Duration::from_secs(3_600 * 3 + 7));
            assert_eq!(refused(take(&world, "a", 0).await).retry_at, Some(end));
        }
        assert_eq!(world.fleet.allowances().budgets().await.unwrap().len(), 1);
        assert!(world.fleet.ports().allowances.verify().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn an_operator_sets_the_anchor_and_a_changed_cap_keeps_it() {
    let world = World::new();
    let anchor = world.now().minus(Duration::from_mins(50));
    let limit = BudgetLimit { anchor: Some(anchor), ..capped(Meter::Jobs, "anchored:3600", 1) };
    set(&world, "fleet", vec![limit]).await;
    take(&world, "a", 0).await.unwrap();
    let end = anchor.plus(Duration::from_hours(1));
    assert_eq!(refused(take(&world, "a", 0).await).retry_at, Some(end));
    set(&world, "fleet", vec![capped(Meter::Jobs, "anchored:3600", 2)]).await;
    take(&world, "a", 0).await.unwrap();
    assert_eq!(refused(take(&world, "a", 0).await).retry_at, Some(end));
}

#[tokio::test]
async fn a_shadow_limit_is_evaluated_counted_and_told_and_refuses_nothing() {
    let world = World::new();
    let shadow = BudgetLimit { shadow: true, ..capped(Meter::Cost, "day", 5) };
    set(&world, "fleet", vec![shadow.clone(), capped(Meter::Tokens, "day", 1_000)]).await;
    let first = take(&world, "a", 0).await.unwrap();
    price(&world).await;
    let second = take(&world, "a", 0).await.unwrap();
    spend(&world, &second, 500).await;
    let check =
        world.fleet.allowances().check(&"a".parse().unwrap(), Some(&"m".parse().unwrap())).await.unwrap();
    assert!(check.allowed && check.would_refuse.len() == 1, "{check:?}");
    for _ in 0..3 {
        take(&world, "a", 0).await.unwrap();
    }
    let budget = world.fleet.allowances().budget(&"fleet".parse().unwrap()).await.unwrap();
    assert_eq!(budget.limits[0].standing.as_ref().unwrap().would_refuse, Some(3));
    assert_eq!(budget.limits[1].standing.as_ref().unwrap().would_refuse, None);
    let told = world.events().await;
    let told: Vec<_> = told.iter().filter(|event| event.kind == EventType::QuotaExceeded).collect();
    assert_eq!(told.len(), 1, "once a lane");
    assert_eq!(told[0].payload.as_ref().unwrap()["shadow"], true);
    assert_eq!(world.count(EventType::QuotaWarning).await, 0);
    assert_eq!(first.claimed_by, second.claimed_by);
    // Tokens of an enforced limit stop the job; those of a shadow do not.
    spend(&world, &second, 899).await;
    let enforced = BudgetLimit { shadow: false, ..shadow };
    set(&world, "fleet", vec![enforced]).await;
    assert_eq!(refused(take(&world, "a", 0).await).used.get(), 899);
}

#[tokio::test]
async fn a_lane_parked_by_a_budget_wakes_when_it_is_raised() {
    let world = World::new();
    let agent = world.agent("a", &[], 0).await;
    set(&world, "fleet", vec![capped(Meter::Jobs, "day", 1)]).await;
    world.submit(titled("one")).await;
    let second = world.submit(titled("two")).await;
    assert_eq!(world.dispatcher.tick().await.unwrap().dispatched, 1);
    let first = world.start_assigned(&agent).await.remove(0);
    world.complete(&first, true).await;
    assert_eq!(world.dispatcher.tick().await.unwrap().parked, 1);
    let reason = world.task(&second.id).await.pending_reason.unwrap();
    assert_eq!((reason.code.as_str(), reason.retry_at), ("quota", Some(midnight(&world))));
    assert!(reason.detail.contains("jobs of fleet today: 1 used + 1 asked > 1"), "{}", reason.detail);
    set(&world, "fleet", vec![capped(Meter::Jobs, "day", 2)]).await;
    assert_eq!(world.task(&second.id).await.pending_reason.unwrap().code, "queued");
    assert_eq!(world.dispatcher.tick().await.unwrap().dispatched, 1);
}

/// Says in the name of the task's holder that the provider's limit is used up.
async fn used_up(world: &World, task: &Task, until: Timestamp) -> Task {
    let agent = task.claimed_by.clone().unwrap();
    let attempt = Some(task.attempt);
    let body = CompleteTask { success: false, attempt, resets_at: Some(until), ..CompleteTask::default() };
    world.fleet.tasks().complete(&by(&agent), &task.id, body).await.unwrap()
}

/// The same, giving the attempt back.
async fn given_back(world: &World, task: &Task, until: Timestamp) -> Task {
    let agent = task.claimed_by.clone().unwrap();
    let body = ReleaseTask { attempt: Some(task.attempt), resets_at: Some(until), ..ReleaseTask::default() };
    world.fleet.tasks().release(&by(&agent), &task.id, body).await.unwrap()
}

#[tokio::test]
async fn a_usage_limit_answer_parks_the_agents_model_and_nothing_else() {
    for releases in [false, true] {
        let world = World::new();
        let until = world.now().plus(Duration::from_hours(3));
        let task = take(&world, "a", 0).await.unwrap();
        let back = if releases {
            given_back(&world, &task, until).await
        } else {
            used_up(&world, &task, until).await
        };
        assert_eq!((back.status, back.retry_count), (TaskStatus::Pending, 0), "no retry is burnt");
        let told =
            world.fleet.tasks().history(&task.id, 0, 100).await.unwrap().pop().unwrap().payload.unwrap();
        assert_eq!(told["reason"], format!("the provider's usage limit is used up until {until}"));
        let refusal = refused(claim(&world, "a", &task).await);
        assert_eq!(refusal.retry_at, Some(until));
        assert_eq!(refusal.key.as_ref().unwrap().scope.to_string(), "agent:a model:m");
        assert!(refusal.to_string().contains("usage limit is used up"), "{refusal}");
        claim(&world, "b", &task).await.unwrap();
        let other = world.submit(CreateTask { model: Some("n".parse().unwrap()), ..titled("x") }).await;
        claim(&world, "a", &other).await.unwrap();
        world.pass(3 * 3_600);
        take(&world, "a", 0).await.unwrap();
    }
}

#[tokio::test]
async fn a_release_holds_nothing_for_who_is_not_its_holder() {
    let world = World::new();
    let until = Some(world.now().plus(Duration::from_hours(3)));
    let task = take(&world, "a", 0).await.unwrap();
    for (caller, attempt) in [("b", Some(1)), ("b", None), ("a", Some(2))] {
        let caller = by(&caller.parse().unwrap());
        let body = ReleaseTask { attempt, resets_at: until, ..ReleaseTask::default() };
        world.fleet.tasks().release(&caller, &task.id, body).await.unwrap_err();
        assert_eq!(world.fleet.allowances().budgets().await.unwrap(), []);
    }
}

#[tokio::test]
async fn a_lane_waits_for_the_reset_and_goes_on_by_itself() {
    let world = World::new();
    let agent = world.agent("a", &[], 0).await;
    let model = Some("m".parse().unwrap());
    let task = world.submit(CreateTask { model, ..titled("x") }).await;
    world.dispatcher.tick().await.unwrap();
    let running = world.start_assigned(&agent).await.remove(0);
    let until = world.now().plus(Duration::from_secs(20));
    used_up(&world, &running, until).await;
    assert_eq!(world.dispatcher.tick().await.unwrap().parked, 1);
    let reason = world.task(&task.id).await.pending_reason.unwrap();
    assert_eq!((reason.code.as_str(), reason.retry_at), ("quota", Some(until)));
    world.pass(20);
    assert_eq!(world.dispatcher.tick().await.unwrap().dispatched, 1);
}

#[tokio::test]
async fn a_hold_is_bounded_and_an_operator_lifts_it() {
    let world = World::new();
    let task = take(&world, "a", 0).await.unwrap();
    used_up(&world, &task, "9000-01-01T00:00:00Z".parse().unwrap()).await;
    let most = world.now().plus(LONGEST_HOLD);
    assert_eq!(refused(take(&world, "a", 0).await).retry_at, Some(most), "eight days at most");
    world.fleet.allowances().delete_budget(&"agent:a model:m".parse().unwrap()).await.unwrap();
    let task = take(&world, "a", 0).await.unwrap();
    used_up(&world, &task, world.now()).await;
    take(&world, "a", 0).await.unwrap();
}

#[tokio::test]
async fn a_report_can_say_that_the_limit_is_used_up_and_a_stranger_cannot() {
    let world = World::new();
    let task = take(&world, "a", 0).await.unwrap();
    let until = Some(world.now().plus(Duration::from_hours(1)));
    let job: agentic_core::id::JobId = format!("{}#1", task.id).parse().unwrap();
    let report = |agent: &str| UsageReport {
        resets_at: until,
        ..UsageReport::new(agent.parse().unwrap(), job.clone(), UsageEvent::JobProgress)
    };
    let stranger = world.fleet.allowances().record_usage(report("b")).await;
    assert!(stranger.unwrap_err().is_conflict(ConflictCode::NotHolder));
    take(&world, "a", 0).await.unwrap();
    world.fleet.allowances().record_usage(report("a")).await.unwrap();
    assert_eq!(refused(take(&world, "a", 0).await).retry_at, until);
    let other = UsageReport { model: Some("made-up".parse().unwrap()), ..report("a") };
    world.fleet.allowances().record_usage(other).await.unwrap();
    assert_eq!(world.fleet.allowances().budgets().await.unwrap().len(), 1, "only what the agent has");
}

#[tokio::test]
async fn a_report_that_contradicts_itself_is_refused() {
    let world = World::new();
    let task = take(&world, "a", 0).await.unwrap();
    let job = format!("{}#1", task.id).parse().unwrap();
    let report = UsageReport {
        tokens_in: 7u32.into(),
        input: Some(5u32.into()),
        cache_read: Some(3u32.into()),
        ..UsageReport::new("a".parse().unwrap(), job, UsageEvent::JobProgress)
    };
    match world.fleet.allowances().record_usage(report).await {
        Err(Error::Invalid { field, .. }) => assert_eq!(field, "tokens_in"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn of_two_who_change_a_budget_they_have_seen_one_does() {
    let world = World::new();
    let seen = set(&world, "fleet", vec![capped(Meter::Jobs, "day", 1)]).await;
    world.fleet.allowances().set_budget(seen.clone()).await.unwrap();
    let late = world.fleet.allowances().set_budget(seen).await;
    assert!(late.unwrap_err().is_conflict(ConflictCode::StaleVersion));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn dispatchers_that_race_for_a_new_window_open_one() {
    let ports = Memory::new().ports();
    let world = World::over(ports.clone(), policy());
    set(&world, "fleet", vec![capped(Meter::Jobs, "anchored:3600", 5)]).await;
    for round in 0..20 {
        let mut races = tokio::task::JoinSet::new();
        for fleet in 0..8 {
            let rival = World::at(ports.clone(), policy(), world.clock.clone());
            let tasks = [world.submit(titled("x")).await, world.submit(titled("y")).await];
            races.spawn(async move {
                let mut admitted = 0;
                for task in tasks {
                    let agent = format!("a{fleet}");
                    if let Ok(task) = claim(&rival, &agent, &task).await {
                        rival.complete(&task, true).await;
                        admitted += 1;
                    }
                }
                admitted
            });
        }
        let admitted: i32 = races.join_all().await.into_iter().sum();
        assert_eq!(admitted, 5, "round {round}");
        world.pass(3_600 + round);
    }
}

/// One step of a world of windows.
#[derive(Debug, Clone)]
enum Step {
    /// One of two fleets takes a task; it may finish it at once.
    Take {
        fleet: usize,
        finish: bool,
    },
    Pass {
        secs: u64,
    },
    /// Everything that runs is finished.
    Finish,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..2usize, any::<bool>()).prop_map(|(fleet, finish)| Step::Take { fleet, finish }),
        3 => (0..900u64).prop_map(|secs| Step::Pass { secs }),
        1 => Just(Step::Finish),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    /// Whoever admits and whatever goes on over a window's end: anchors are at least one window apart, and between an
    /// anchor and the window's end no more are admitted than the cap.
    #[test]
    fn windows_never_overlap_and_never_admit_more_than_their_cap(steps in proptest::collection::vec(step(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (cap, length) = (3, Duration::from_mins(30));
            let ports = Memory::new().ports();
            let first = World::over(ports.clone(), policy());
            let second = World::at(ports, policy(), first.clock.clone());
            set(&first, "fleet", vec![capped(Meter::Jobs, "anchored:1800", cap)]).await;
            let (mut running, mut admitted) = (Vec::new(), Vec::new());
            let mut anchors = BTreeSet::new();
            for step in steps {
                match step {
                    Step::Pass { secs } => first.pass(secs),
                    Step::Finish => {
                        for task in running.drain(..) {
                            first.complete(&task, true).await;
                        }
                    }
                    Step::Take { fleet, finish } => {
                        let world = [&first, &second][fleet];
                        if let Ok(task) = take(world, "a", 0).await {
                            admitted.push(first.now());
                            if finish { drop(world.complete(&task, true).await) } else { running.push(task) }
                        }
                        let budget = first.fleet.allowances().budget(&"fleet".parse().unwrap()).await.unwrap();
                        anchors.insert(budget.limits[0].anchor.unwrap());
                    }
                }
            }
            let anchors: Vec<Timestamp> = anchors.into_iter().collect();
            for pair in anchors.windows(2) {
                assert!(pair[1].since(pair[0]) >= length, "{anchors:?}");
            }
            for anchor in anchors {
                let inside = |at: &&Timestamp| **at >= anchor && at.since(anchor) < length;
                assert!(admitted.iter().filter(inside).count() <= 3, "{anchor}: {admitted:?}");
            }
        });
    }
}
