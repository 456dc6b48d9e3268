//! Limits that change while work runs: what was used is not forgotten, and what runs is held by what stands.

use std::{sync::Arc, time::Duration};

use agentic_core::{
    allowance::{CostBasis, ModelQuota, Price, UsageAnswer, UsageEvent, UsageReport},
    api::{ClaimTask, CompleteTask, CreateTask, ReleaseTask},
    budget::{Budget, BudgetLimit},
    clock::Timestamp,
    error::{Error, Result},
    limit::{Meter, Scope},
    memory::Memory,
    port::{Ports, Replan, SetBudget},
    rpc::{Call, Transport, remote, serve},
    task::{Task, TaskStatus},
    usage::Directive,
};

use async_trait::async_trait;
use proptest::prelude::*;
use serde_json::Value;

use crate::world::{World, by, policy, titled};

fn limit(meter: Meter, window: &str, cap: u32) -> BudgetLimit {
    BudgetLimit::new(meter, window.parse().unwrap(), cap.into())
}

async fn set(world: &World, scope: &str, limits: Vec<BudgetLimit>) -> Result<Budget> {
    let budget = Budget { limits, ..Budget::new(scope.parse().unwrap()) };
    world.fleet.allowances().set_budget(budget).await
}

async fn budget(world: &World, scope: &str) -> Budget {
    world.fleet.allowances().budget(&scope.parse().unwrap()).await.unwrap()
}

/// What is used of each limit of a budget, and when its window ends.
async fn standing(world: &World, scope: &str) -> Vec<(u64, Option<Timestamp>)> {
    let limits = budget(world, scope).await.limits;
    limits.iter().filter_map(|limit| limit.standing.as_ref().map(|s| (s.used.get(), s.resets_at))).collect()
}

async fn take(world: &World, agent: &str, model: &str) -> Result<Task> {
    let task = world.submit(CreateTask { model: Some(model.parse().unwrap()), ..titled("x") }).await;
    let body = ClaimTask { agent_id: agent.parse().unwrap(), lease_secs: Some(86_400) };
    world.fleet.tasks().claim(&task.id, &body).await
}

/// Reports so many tokens, of the job's model or of another.
async fn used(world: &World, task: &Task, model: Option<&str>, tokens: u32) -> UsageAnswer {
    let job = format!("{}#{}", task.id, task.attempt).parse().unwrap();
    let report = UsageReport {
        tokens_in: tokens.into(),
        model: model.map(|model| model.parse().unwrap()),
        ..UsageReport::new(task.claimed_by.clone().unwrap(), job, UsageEvent::JobProgress)
    };
    world.fleet.allowances().record_usage(report).await.unwrap()
}

async fn fails_with(world: &World, task: &Task, resets_at: Timestamp) -> Task {
    let attempt = Some(task.attempt);
    let body =
        CompleteTask { success: false, attempt, resets_at: Some(resets_at), ..CompleteTask::default() };
    world.fleet.tasks().complete(&by(&task.claimed_by.clone().unwrap()), &task.id, body).await.unwrap()
}

fn hours(hours: u64) -> Duration {
    Duration::from_hours(hours)
}

#[tokio::test]
async fn a_reset_that_is_past_is_no_excuse() {
    let world = World::new();
    let task = take(&world, "a", "m").await.unwrap();
    let failed = fails_with(&world, &task, world.now()).await;
    assert_eq!((failed.status, failed.retry_count), (TaskStatus::Pending, 1));
    assert!(failed.retry_at > Some(world.now()), "it waits as after any failure");
    assert!(world.fleet.allowances().budgets().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_job_that_our_limit_stopped_has_failed_whatever_its_provider_says() {
    let world = World::new();
    world.allow("a", |allowance| allowance.daily_token_limit = 100u32.into()).await;
    let task = take(&world, "a", "m").await.unwrap();
    assert_eq!(used(&world, &task, None, 100).await.directive, Directive::Stop);
    let failed = fails_with(&world, &task, world.now().plus(hours(1))).await;
    assert_eq!(failed.retry_count, 1);
    assert!(budget(&world, "agent:a model:m").await.hold.is_some(), "it is believed all the same");
}

#[tokio::test]
async fn a_reported_reset_ends_the_shortest_window_that_it_can_be_and_forgets_no_other() {
    let world = World::new();
    let scope = "agent:a model:m";
    set(
        &world,
        scope,
        vec![
            limit(Meter::Tokens, "anchored:18000", 1_000),
            limit(Meter::Cost, "anchored:18000", 1_000),
            limit(Meter::Tokens, "anchored:604800", 10_000),
        ],
    )
    .await
    .unwrap();
    world
        .fleet
        .allowances()
        .set_model(ModelQuota { cost: CostBasis::Reported, ..ModelQuota::unlimited("m".parse().unwrap()) })
        .await
        .unwrap();
    let began = world.now();
    let task = take(&world, "a", "m").await.unwrap();
    used(&world, &task, None, 900).await;
    world.pass(3_600);
    let reset = world.now().plus(hours(1));
    fails_with(&world, &task, reset).await;
    let week = Some(began.plus(hours(7 * 24)));
    // Half of it is given back by the day of agent and model, and by no budget.
    assert_eq!(standing(&world, scope).await, [(900, Some(reset)), (0, Some(reset)), (900, week)]);
    world.pass(3_600);
    let task = take(&world, "a", "m").await.unwrap();
    used(&world, &task, None, 50).await;
    let next = Some(reset.plus(hours(5)));
    assert_eq!(standing(&world, scope).await, [(50, next), (0, next), (950, week)]);
    // One that lies further away than five hours is the week's.
    world.pass(600);
    let far = world.now().plus(hours(24));
    fails_with(&world, &task, far).await;
    assert_eq!(standing(&world, scope).await, [(50, next), (0, next), (950, Some(far))]);
}

#[tokio::test]
async fn a_hold_is_not_cut_short_and_a_change_of_the_limits_keeps_it() {
    let world = World::new();
    let scope = "agent:a model:m";
    let (first, second) = (take(&world, "a", "m").await.unwrap(), take(&world, "a", "m").await.unwrap());
    let until = world.now().plus(hours(5));
    fails_with(&world, &first, until).await;
    let version = budget(&world, scope).await.version;
    fails_with(&world, &second, world.now().plus(hours(1))).await;
    let stands = budget(&world, scope).await;
    assert_eq!((stands.hold.as_ref().unwrap().until, stands.version), (until, version), "nothing is written");
    set(&world, scope, vec![limit(Meter::Jobs, "day", 9)]).await.unwrap();
    let stands = budget(&world, scope).await;
    assert_eq!(stands.hold.as_ref().unwrap().until, until);
    // Whoever has seen it may lift it.
    world.fleet.allowances().set_budget(Budget { hold: None, ..stands }).await.unwrap();
    assert!(budget(&world, scope).await.hold.is_none());
}

#[tokio::test]
async fn an_operator_brings_the_end_of_a_window_forward_and_puts_it_off_only_before_use() {
    let world = World::new();
    let began = world.now();
    let ends = |end: Timestamp| BudgetLimit {
        anchor: Some(end.minus(hours(5))),
        ..limit(Meter::Tokens, "anchored:18000", 1_000)
    };
    let named = began.plus(hours(2));
    set(&world, "fleet", vec![ends(named)]).await.unwrap();
    assert_eq!(standing(&world, "fleet").await, [(0, Some(named))], "nothing was used");
    let named = began.plus(hours(4));
    set(&world, "fleet", vec![ends(named)]).await.unwrap();
    let task = take(&world, "a", "m").await.unwrap();
    used(&world, &task, None, 950).await;
    match set(&world, "fleet", vec![ends(began.plus(hours(5)))]).await {
        Err(Error::Invalid { field, .. }) => assert_eq!(field, "limits[0].anchor"),
        other => panic!("{other:?}"),
    }
    let named = began.plus(hours(1));
    set(&world, "fleet", vec![ends(named)]).await.unwrap();
    assert_eq!(standing(&world, "fleet").await, [(950, Some(named))]);
    assert_eq!(used(&world, &task, None, 1_000).await.directive, Directive::Stop, "until then it holds");
    let lower = limit(Meter::Tokens, "anchored:18000", 2_000);
    set(&world, "fleet", vec![lower]).await.unwrap();
    assert_eq!(standing(&world, "fleet").await, [(1_000, Some(named))], "a changed cap keeps the end");
    // What runs on counts in the next window, which begins where this one ended.
    world.pass(3_600);
    take(&world, "b", "m").await.unwrap();
    world.fleet.reaper().follow().await.unwrap();
    used(&world, &task, None, 1_040).await;
    assert_eq!(standing(&world, "fleet").await, [(40, Some(named.plus(hours(5))))]);
    assert!(world.fleet.ports().allowances.verify().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_is_refused_begins_no_window() {
    let world = World::new();
    set(&world, "fleet", vec![limit(Meter::Jobs, "anchored:3600", 9)]).await.unwrap();
    world.allow("a", |allowance| allowance.concurrent_jobs = 1u32.into()).await;
    world.allow("b", |allowance| allowance.daily_token_limit = 5u32.into()).await;
    let anchor = async || budget(&world, "fleet").await.limits[0].anchor;
    let big = CreateTask { estimated_tokens: 6u32.into(), ..titled("big") };
    let big = world.submit(big).await;
    let body = ClaimTask { agent_id: "b".parse().unwrap(), lease_secs: None };
    assert!(matches!(world.fleet.tasks().claim(&big.id, &body).await, Err(Error::Refused(_))));
    assert_eq!(anchor().await, None, "it asked for too much");
    let task = take(&world, "a", "m").await.unwrap();
    let first = anchor().await;
    assert_eq!(first, Some(world.now()));
    world.pass(3_600);
    assert!(matches!(take(&world, "a", "m").await, Err(Error::Refused(_))), "it has its one job");
    let body = ClaimTask { agent_id: "c".parse().unwrap(), lease_secs: None };
    assert!(matches!(world.fleet.tasks().claim(&task.id, &body).await, Err(Error::Conflict { .. })));
    assert_eq!(anchor().await, first, "nobody got a place");
}

#[tokio::test]
async fn use_begins_a_window_too() {
    let world = World::new();
    set(&world, "model:n", vec![limit(Meter::Tokens, "anchored:3600", 100)]).await.unwrap();
    let task = take(&world, "a", "m").await.unwrap();
    let answer = used(&world, &task, Some("n"), 150).await;
    assert_eq!(answer.directive, Directive::Stop);
    let end = world.now().plus(hours(1));
    assert_eq!(standing(&world, "model:n").await, [(150, Some(end))]);
    assert!(matches!(take(&world, "b", "n").await, Err(Error::Refused(_))));
}

#[tokio::test]
async fn a_lowered_cap_and_a_new_budget_reach_what_runs() {
    let world = World::new();
    let reaper = world.fleet.reaper();
    world.allow("a", |allowance| allowance.daily_token_limit = 100_000u32.into()).await;
    let task = take(&world, "a", "m").await.unwrap();
    assert_eq!(used(&world, &task, None, 5_000).await.directive, Directive::Continue);
    world.allow("a", |allowance| allowance.daily_token_limit = 6_000u32.into()).await;
    set(&world, "fleet", vec![limit(Meter::Tokens, "day", 800), limit(Meter::Jobs, "anchored:3600", 9)])
        .await
        .unwrap();
    reaper.follow().await.unwrap();
    let answer = used(&world, &task, None, 5_500).await;
    assert_eq!((answer.directive, answer.remaining_tokens), (Directive::WrapUp, Some(300u32.into())));
    assert_eq!(standing(&world, "fleet").await[0].0, 500, "it counts from now on");
    assert_eq!(used(&world, &task, None, 5_800).await.directive, Directive::Stop);
    assert!(budget(&world, "fleet").await.limits[1].anchor.is_some(), "what runs is its first use");
    // A refund takes from nobody what it did not bring.
    world.fleet.tasks().cancel(&task.id, "enough".to_owned()).await.unwrap();
    assert_eq!(standing(&world, "fleet").await[0].0, 800);
    assert!(world.fleet.ports().allowances.verify().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_limit_on_spend_stops_what_costs_nobody_knows_what() {
    let world = World::new();
    let task = take(&world, "a", "m").await.unwrap();
    let priced = ModelQuota {
        price: Some(Price::flat(1u32.into(), 1u32.into())),
        ..ModelQuota::unlimited("n".parse().unwrap())
    };
    world.fleet.allowances().set_model(priced).await.unwrap();
    let known = take(&world, "a", "n").await.unwrap();
    set(&world, "agent:a", vec![limit(Meter::Cost, "day", 100)]).await.unwrap();
    world.fleet.reaper().follow().await.unwrap();
    assert_eq!(used(&world, &task, None, 10).await.directive, Directive::Stop);
    assert_eq!(used(&world, &known, None, 10).await.directive, Directive::Continue);
}

#[tokio::test]
async fn a_price_that_comes_later_does_not_excuse_a_job_that_was_admitted_without_one() {
    let world = World::new();
    let reaper = world.fleet.reaper();
    let agent = world.agent("b", &[], 0).await;
    let task = take(&world, "a", "m").await.unwrap();
    let waits = CreateTask { model: Some("m".parse().unwrap()), ..titled("assigned") };
    let waits = world.submit(waits).await;
    world.dispatcher.tick().await.unwrap();
    let price = Some(Price::flat(1u32.into(), 1u32.into()));
    let priced = ModelQuota { price, ..ModelQuota::unlimited("m".parse().unwrap()) };
    world.fleet.allowances().set_model(priced).await.unwrap();
    set(&world, "model:m", vec![limit(Meter::Cost, "day", 100)]).await.unwrap();
    for _ in 0..3 {
        reaper.follow().await.unwrap();
    }
    assert_eq!(used(&world, &task, None, 10).await.directive, Directive::Stop);
    let started = world.start_assigned(&agent).await.remove(0);
    assert_eq!(started.id, waits.id);
    let started = world.task(&waits.id).await;
    reaper.follow().await.unwrap();
    assert_eq!(used(&world, &started, None, 10).await.directive, Directive::Stop, "once it has started");
}

#[tokio::test]
async fn a_window_that_was_ended_stays_ended_when_its_cap_is_set() {
    let world = World::new();
    let scope = "agent:a model:m";
    set(&world, scope, vec![limit(Meter::Tokens, "anchored:18000", 1_000)]).await.unwrap();
    let task = take(&world, "a", "m").await.unwrap();
    used(&world, &task, None, 995).await;
    fails_with(&world, &task, world.now().plus(Duration::from_secs(4))).await;
    world.pass(4);
    assert_eq!(standing(&world, scope).await, [(0, None)], "the next one has not begun");
    let check =
        world.fleet.allowances().check(&"a".parse().unwrap(), Some(&"m".parse().unwrap())).await.unwrap();
    assert!(check.allowed, "{check:?}");
    set(&world, scope, vec![limit(Meter::Tokens, "anchored:18000", 900)]).await.unwrap();
    take(&world, "a", "m").await.unwrap();
    assert_eq!(standing(&world, scope).await, [(0, Some(world.now().plus(hours(5))))]);
}

#[tokio::test]
async fn neither_an_end_nor_an_anchor_forgets_what_a_window_that_went_on_counts() {
    let world = World::new();
    let began = world.now();
    set(&world, "fleet", vec![limit(Meter::Tokens, "anchored:3600", 1_000)]).await.unwrap();
    let task = take(&world, "a", "m").await.unwrap();
    world.pass(3_700);
    used(&world, &task, None, 899).await;
    let stood = [(899, Some(began.plus(hours(2))))];
    assert_eq!(standing(&world, "fleet").await, stood);
    // Whoever read the budget before sends the anchor that it had.
    let cap = BudgetLimit { anchor: Some(began), ..limit(Meter::Tokens, "anchored:3600", 1_000) };
    set(&world, "fleet", vec![cap]).await.unwrap();
    assert_eq!(standing(&world, "fleet").await, stood, "a cap that is set ends nothing");
    let named = |anchor: Option<Timestamp>, ends: Option<Timestamp>| {
        vec![BudgetLimit { anchor, ends, ..limit(Meter::Tokens, "anchored:3600", 1_000) }]
    };
    let sooner = world.now().plus(Duration::from_mins(1));
    set(&world, "fleet", named(Some(sooner.minus(hours(1))), None)).await.unwrap();
    assert_eq!(standing(&world, "fleet").await, [(899, Some(sooner))]);
    let later = named(Some(began.plus(hours(1))), Some(sooner.plus(hours(1))));
    set(&world, "fleet", later).await.unwrap();
    assert_eq!(standing(&world, "fleet").await, [(899, Some(sooner))], "it is not put off");
    match set(&world, "fleet", named(Some(began.plus(hours(1))), Some(world.now()))).await {
        Err(Error::Invalid { field, .. }) => assert_eq!(field, "limits[0].ends"),
        other => panic!("{other:?}"),
    }
    match set(&world, "fleet", named(Some(world.now().minus(hours(1))), None)).await {
        Err(Error::Invalid { field, .. }) => assert_eq!(field, "limits[0].anchor"),
        other => panic!("an end that is past: {other:?}"),
    }
}

#[tokio::test]
async fn a_bogus_reset_is_believed_once() {
    let world = World::new();
    let scope = "agent:a model:m";
    let bogus: Timestamp = "2099-01-01T00:00:00Z".parse().unwrap();
    let hold = async || world.fleet.allowances().hold(&scope.parse().unwrap(), bogus, "used up").await;
    hold().await.unwrap();
    let first = budget(&world, scope).await;
    world.pass(3_600);
    hold().await.unwrap();
    assert_eq!(budget(&world, scope).await, first, "eight days from the first time");
}

#[tokio::test]
async fn a_release_does_not_excuse_what_a_limit_stopped() {
    let world = World::new();
    world.allow("a", |allowance| allowance.daily_token_limit = 100u32.into()).await;
    let task = take(&world, "a", "m").await.unwrap();
    used(&world, &task, None, 500).await;
    let body = ReleaseTask { attempt: Some(1), ..ReleaseTask::default() };
    let back = world.fleet.tasks().release(&by(&"a".parse().unwrap()), &task.id, body).await.unwrap();
    assert_eq!((back.retry_count, back.retry_at > Some(world.now())), (1, true));
}

/// Somebody sets a budget while a tick hands out work.
#[derive(Debug)]
struct SetMeanwhile(Ports);

#[async_trait]
impl Transport for SetMeanwhile {
    async fn call(&self, call: Call) -> Result<Value> {
        if let Call::LedgerAssign { assign } = &call {
            let limits = vec![limit(Meter::Jobs, "day", 9)];
            let budget = Budget { limits, ..Budget::new(Scope::Fleet) };
            self.0.allowances.set_budget(SetBudget { budget, seen: None, now: assign.claim.now }).await?;
        }
        serve(&self.0, call).await
    }
}

#[tokio::test]
async fn what_a_long_tick_gave_by_old_limits_is_looked_at_again() {
    let world = World::over(remote(Arc::new(SetMeanwhile(Memory::new().ports()))), policy());
    let reaper = world.fleet.reaper();
    world.agent("a", &[], 0).await;
    let task = world.submit(titled("x")).await;
    assert_eq!(world.dispatcher.tick().await.unwrap().dispatched, 1);
    let job = format!("{}#1", task.id).parse().unwrap();
    let counts = async || {
        let job = world.fleet.ports().allowances.job(&job).await.unwrap().unwrap();
        job.lines[0].limits.iter().any(|limit| limit.key.scope == Scope::Fleet)
    };
    assert!(!counts().await);
    reaper.follow().await.unwrap();
    assert!(counts().await);
    // Both looks were done before the tick was over.
    let again = world.submit(titled("y")).await;
    reaper.follow().await.unwrap();
    world.dispatcher.tick().await.unwrap();
    reaper.follow().await.unwrap();
    let job = format!("{}#1", again.id).parse().unwrap();
    let job = world.fleet.ports().allowances.job(&job).await.unwrap().unwrap();
    assert!(job.lines[0].limits.iter().any(|limit| limit.key.scope == Scope::Fleet));
}

#[tokio::test]
async fn a_sweep_that_finds_nothing_changed_looks_at_nothing_and_one_more_catches_who_came_late() {
    let world = World::new();
    let reaper = world.fleet.reaper();
    let task = take(&world, "a", "m").await.unwrap();
    let stands = async || {
        let job = format!("{}#1", task.id).parse().unwrap();
        world.fleet.ports().allowances.job(&job).await.unwrap().unwrap().lines[0].limits.clone()
    };
    let before = stands().await;
    let budget =
        Budget { limits: vec![limit(Meter::Jobs, "day", 9)], ..Budget::new("fleet".parse().unwrap()) };
    let set = SetBudget { budget, seen: None, now: world.now() };
    world.fleet.ports().allowances.set_budget(set).await.unwrap();
    let stale =
        Replan { job: format!("{}#1", task.id).parse().unwrap(), limits: before.clone(), now: world.now() };
    for (round, follows) in [(0, true), (1, true), (2, false)] {
        // Somebody admits by what it had read before.
        world.fleet.ports().allowances.replan(stale.clone()).await.unwrap();
        reaper.follow().await.unwrap();
        assert_eq!(stands().await != before, follows, "{round}");
    }
}

/// What happens to a fleet with one anchored window.
#[derive(Debug, Clone)]
enum Step {
    Take,
    /// One of the running jobs uses so many tokens more.
    Use(usize, u32),
    Finish(usize),
    Pass(u64),
    /// A provider names its reset, so many seconds from now.
    Reset(u64),
    /// An operator sets the cap.
    Cap(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Take),
        5 => (0..4usize, 1..60u32).prop_map(|(job, tokens)| Step::Use(job, tokens)),
        2 => (0..4usize).prop_map(Step::Finish),
        3 => (0..2_000u64).prop_map(Step::Pass),
        1 => (1..4_000u64).prop_map(Step::Reset),
        1 => (1..200u32).prop_map(Step::Cap),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    /// Whatever resets are reported and whatever caps are set while jobs run: the meter is what was used since the present
    /// window began, nobody is admitted past the cap, and only a report can pass it.
    #[test]
    fn a_window_counts_all_that_was_used_in_it(steps in proptest::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let world = World::new();
            let (scope, reaper) = ("agent:a model:m", world.fleet.reaper());
            let capped = |cap| vec![limit(Meter::Tokens, "anchored:3600", cap)];
            set(&world, scope, capped(100)).await.unwrap();
            let (mut cap, mut running, mut uses) = (100, Vec::new(), Vec::new());
            for step in steps {
                let before = budget(&world, scope).await.limits.remove(0);
                let held = budget(&world, scope).await.hold.is_some();
                match step {
                    Step::Pass(secs) => world.pass(secs),
                    Step::Cap(to) => {
                        set(&world, scope, capped(to)).await.unwrap();
                        cap = to;
                    }
                    Step::Reset(secs) => {
                        let until = world.now().plus(Duration::from_secs(secs));
                        world.fleet.allowances().hold(&scope.parse().unwrap(), until, "used up").await.unwrap();
                    }
                    Step::Take => {
                        let counts = if before.is_over(world.now()) { 0 } else { before.standing.unwrap().used.get() };
                        match take(&world, "a", "m").await {
                            Ok(task) => {
                                assert!(!held && counts < u64::from(cap), "{counts} of {cap}");
                                running.push((task, 0));
                            }
                            Err(Error::Refused(_)) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                    Step::Use(job, tokens) if !running.is_empty() => {
                        let at = job % running.len();
                        let (task, used_so_far) = &mut running[at];
                        *used_so_far += tokens;
                        let answer = used(&world, task, None, *used_so_far).await;
                        uses.push((world.now(), u64::from(tokens)));
                        let now = standing(&world, scope).await[0].0;
                        assert!(now < u64::from(cap) || answer.directive == Directive::Stop, "{now} of {cap}");
                    }
                    Step::Finish(job) if !running.is_empty() => {
                        let (task, _) = running.remove(job % running.len());
                        world.complete(&task, true).await;
                    }
                    Step::Use(..) | Step::Finish(_) => {}
                }
                reaper.follow().await.unwrap();
                let stands = budget(&world, scope).await.limits.remove(0);
                if !stands.is_over(world.now()) {
                    let began = stands.anchor.unwrap();
                    let counted: u64 =
                        uses.iter().filter(|(at, _)| *at >= began).map(|(_, tokens)| tokens).sum();
                    assert_eq!(stands.standing.unwrap().used.get(), counted, "since {began}");
                }
            }
            assert!(world.fleet.ports().allowances.verify().await.unwrap().is_empty());
        });
    }
}
