//! Lanes that wait for a reason.

use agentic_core::{
    error::ConflictCode,
    event::{EventType, NewEvent},
    lane::{Lane, Park},
    limit::Scope,
    port::{Defer, Edit, ParkLane, Unpark, Wake},
    task::{NewTask, PendingReason, TaskEdit},
};

use crate::{
    Fixture,
    expect::conflict,
    given::{assign, id, job, t, task},
};

fn park(lane: &str, code: &str, retry_at: Option<i64>, seen: u64) -> ParkLane {
    let reason =
        PendingReason { code: code.to_owned(), detail: format!("{code} it is"), retry_at: retry_at.map(t) };
    let kind = EventType::DispatchFailedQuota;
    ParkLane {
        lane: id(lane),
        park: Park { reason, scope: Some(Scope::Agent(id("w"))), parked_at: t(1) },
        seen,
        events: vec![NewEvent::new(kind, t(1))],
    }
}

async fn seen(fx: &Fixture) -> u64 {
    fx.tasks.lanes(10).await.unwrap().wake
}

async fn parked(fx: &Fixture) -> Vec<String> {
    let views = fx.tasks.lanes(100).await.unwrap().views;
    let mut lanes: Vec<_> =
        views.iter().filter(|view| view.park.is_some()).map(|view| view.lane.to_string()).collect();
    lanes.sort();
    lanes
}

async fn labelled(fx: &Fixture, names: &[&str]) {
    let tasks = names.iter().map(|name| NewTask { labels: [id(name)].into(), ..task(name) }).collect();
    fx.create_all(tasks, t(0)).await;
}

/// Parking a lane again tells it only when its reason changed; a new time is kept without a word.
pub async fn park_tells_only_changes(fx: &Fixture) {
    fx.create(task("a")).await;
    let told = || async { fx.count(EventType::DispatchFailedQuota).await };
    let seen = seen(fx).await;
    fx.tasks.park(park("||", "quota", Some(60), seen)).await.unwrap();
    fx.tasks.park(park("||", "quota", Some(60), seen)).await.unwrap();
    assert_eq!(told().await, 1);
    fx.tasks.park(park("||", "quota", Some(90), seen)).await.unwrap();
    assert_eq!(told().await, 1);
    assert_eq!(fx.task("a", t(2)).await.pending_reason.unwrap().retry_at, Some(t(90)));
    fx.tasks.park(park("||", "no_agent", None, seen)).await.unwrap();
    assert_eq!(told().await, 2);
    let silent = ParkLane { events: Vec::new(), ..park("||", "at_capacity", None, seen) };
    fx.tasks.park(silent).await.unwrap();
    assert_eq!(told().await, 2);
}

/// A decision to park that was taken before a wake-up is refused, and the lane stays awake.
pub async fn park_loses_to_a_newer_wake(fx: &Fixture) {
    fx.create(task("a")).await;
    let before = seen(fx).await;
    fx.tasks.unpark(Unpark { wake: Wake::All, limit: 10 }).await.unwrap();
    conflict(fx.tasks.park(park("||", "quota", None, before)).await, ConflictCode::NewerWake);
    assert!(parked(fx).await.is_empty());
    assert_eq!(fx.count(EventType::DispatchFailedQuota).await, 0);
    fx.tasks.park(park("||", "quota", None, seen(fx).await)).await.unwrap();
    assert_eq!(parked(fx).await, ["||"]);
}

/// The tasks of a parked lane answer with its reason; others and those not ready do not.
pub async fn a_parked_lane_lends_its_reason(fx: &Fixture) {
    labelled(fx, &["a", "b"]).await;
    fx.create(NewTask { labels: [id("a")].into(), not_before: Some(t(30)), ..task("later") }).await;
    fx.tasks.park(park("a||", "quota", Some(60), seen(fx).await)).await.unwrap();
    let reason = fx.task("a", t(2)).await.pending_reason.unwrap();
    assert_eq!((reason.code.as_str(), reason.retry_at), ("quota", Some(t(60))));
    assert_eq!(fx.task("b", t(2)).await.pending_reason.unwrap().code, "queued");
    assert_eq!(fx.task("later", t(2)).await.pending_reason.unwrap().code, "not_before");
    let view = fx.tasks.lanes(10).await.unwrap().views.remove(0);
    let park = view.park.unwrap();
    assert_eq!(
        (park.reason.code.as_str(), park.scope, park.parked_at),
        ("quota", Some(Scope::Agent(id("w"))), t(1))
    );
}

/// One lane is woken by its name.
pub async fn a_lane_is_woken_by_its_name(fx: &Fixture) {
    labelled(fx, &["a", "b"]).await;
    let seen = seen(fx).await;
    for lane in ["a||", "b||"] {
        fx.tasks.park(park(lane, "no_agent", None, seen)).await.unwrap();
    }
    let wake = |lane: &str| Unpark { wake: Wake::Lane(id(lane)), limit: 10 };
    assert_eq!(fx.tasks.unpark(wake("a||")).await.unwrap(), 1);
    assert_eq!(fx.tasks.unpark(wake("a||")).await.unwrap(), 0);
    assert_eq!(parked(fx).await, ["b||"]);
    assert_eq!(fx.task("a", t(2)).await.pending_reason.unwrap().code, "queued");
}

/// Lanes that wait for room under a scope are woken together, and no others.
pub async fn lanes_are_woken_by_scope(fx: &Fixture) {
    labelled(fx, &["a", "b", "c"]).await;
    let seen = seen(fx).await;
    let scoped = |lane: &str, scope: Option<Scope>| {
        let park = park(lane, "quota", None, seen);
        ParkLane { park: Park { scope, ..park.park }, ..park }
    };
    let model = Scope::Model(id("vendor/m"));
    fx.tasks.park(scoped("a||", Some(model.clone()))).await.unwrap();
    fx.tasks.park(scoped("b||", Some(Scope::Model(id("vendor/n"))))).await.unwrap();
    fx.tasks.park(scoped("c||", None)).await.unwrap();
    assert_eq!(fx.tasks.unpark(Unpark { wake: Wake::Scope(model), limit: 10 }).await.unwrap(), 1);
    assert_eq!(parked(fx).await, ["b||", "c||"]);
    assert_eq!(fx.tasks.unpark(Unpark { wake: Wake::Scope(Scope::Fleet), limit: 10 }).await.unwrap(), 0);
}

fn deferral(name: &str, until: i64, seen: Option<u64>) -> Defer {
    let reason =
        PendingReason { code: "deferred".to_owned(), detail: "no room for 9".to_owned(), retry_at: None };
    Defer { task: id(name), attempt: 0, reason, until: t(until), seen, now: t(1) }
}

/// Tasks that were put off for themselves are woken with every scope, in the same bounded steps, and not with a lane.
pub async fn deferred_tasks_are_woken(fx: &Fixture) {
    fx.create_all(vec![task("a"), task("b"), task("c"), task("d")], t(0)).await;
    for name in ["a", "b", "c"] {
        fx.tasks.defer(deferral(name, 500, Some(seen(fx).await))).await.unwrap();
    }
    let edit = TaskEdit { not_before: Some(t(40)), ..TaskEdit::default() };
    fx.tasks.edit(Edit { task: id("c"), edit, now: t(1) }).await.unwrap();
    fx.tasks.park(park("||", "quota", None, seen(fx).await)).await.unwrap();
    let wake = |wake: Wake, limit| fx.tasks.unpark(Unpark { wake, limit });
    assert_eq!(wake(Wake::Lane(Lane::default()), 10).await.unwrap(), 1);
    assert_eq!(fx.task("a", t(2)).await.pending_reason.unwrap().code, "deferred");
    assert_eq!(wake(Wake::Scope(Scope::Fleet), 2).await.unwrap(), 2);
    assert_eq!(wake(Wake::All, 2).await.unwrap(), 1);
    assert_eq!(wake(Wake::All, 2).await.unwrap(), 0);
    for name in ["a", "b"] {
        let task = fx.task(name, t(2)).await;
        assert_eq!((task.pending_reason.unwrap().code.as_str(), task.retry_at), ("queued", None));
    }
    assert_eq!(fx.tasks.promote_due(t(2), 10).await.unwrap(), 2);
    let heads = fx.tasks.ready(&Lane::default(), 10).await.unwrap();
    assert_eq!(heads.iter().map(|head| head.id.as_str()).collect::<Vec<_>>(), ["a", "b", "d"]);
    // Its own time was not taken from it.
    assert_eq!(fx.task("c", t(2)).await.pending_reason.unwrap().code, "not_before");
    assert_eq!(fx.tasks.promote_due(t(40), 10).await.unwrap(), 1);
}

/// A decision to put a task off that was taken before a wake-up is refused, unless it is meant to hold all the same.
pub async fn a_deferral_loses_to_a_newer_wake(fx: &Fixture) {
    fx.create(task("a")).await;
    let before = seen(fx).await;
    fx.tasks.unpark(Unpark { wake: Wake::Scope(Scope::Fleet), limit: 10 }).await.unwrap();
    conflict(fx.tasks.defer(deferral("a", 500, Some(before))).await, ConflictCode::NewerWake);
    assert_eq!(fx.task("a", t(2)).await.pending_reason.unwrap().code, "queued");
    fx.tasks.defer(deferral("a", 6, None)).await.unwrap();
    assert_eq!(fx.task("a", t(2)).await.retry_at, Some(t(6)));
    // One that ended its wait is found no more.
    fx.take(assign(&job("a", 1), "w", t(7))).await.unwrap();
    assert_eq!(fx.tasks.unpark(Unpark { wake: Wake::All, limit: 10 }).await.unwrap(), 0);
}

/// A wake-up takes bounded steps.
pub async fn a_wake_up_is_bounded(fx: &Fixture) {
    labelled(fx, &["a", "b", "c"]).await;
    let seen = seen(fx).await;
    for lane in ["a||", "b||", "c||"] {
        fx.tasks.park(park(lane, "no_agent", None, seen)).await.unwrap();
    }
    let all = Unpark { wake: Wake::All, limit: 2 };
    assert_eq!(fx.tasks.unpark(all.clone()).await.unwrap(), 2);
    assert_eq!(parked(fx).await.len(), 1);
    assert_eq!(fx.tasks.unpark(all.clone()).await.unwrap(), 1);
    assert_eq!(fx.tasks.unpark(all).await.unwrap(), 0);
}

/// Every wake-up counts, also one that finds nothing to wake.
pub async fn every_wake_up_counts(fx: &Fixture) {
    fx.create(task("a")).await;
    let before = seen(fx).await;
    fx.tasks.unpark(Unpark { wake: Wake::Lane(Lane::default()), limit: 10 }).await.unwrap();
    let after = seen(fx).await;
    assert!(after > before, "{after} after {before}");
}

/// An edit wakes the lane that its task is in now.
pub async fn an_edit_wakes_the_lane(fx: &Fixture) {
    labelled(fx, &["a", "b"]).await;
    let before = seen(fx).await;
    for lane in ["a||", "b||"] {
        fx.tasks.park(park(lane, "no_agent", None, before)).await.unwrap();
    }
    let edit = TaskEdit { labels: Some([id("b")].into()), ..TaskEdit::default() };
    fx.tasks.edit(Edit { task: id("a"), edit, now: t(2) }).await.unwrap();
    assert!(parked(fx).await.is_empty(), "lane a is empty now");
    conflict(fx.tasks.park(park("b||", "no_agent", None, before)).await, ConflictCode::NewerWake);
}

/// A lane stays parked when its tasks come and go.
pub async fn a_park_outlives_the_lanes_tasks(fx: &Fixture) {
    labelled(fx, &["a"]).await;
    fx.tasks.park(park("a||", "no_agent", None, seen(fx).await)).await.unwrap();
    fx.create(NewTask { labels: [id("a")].into(), ..task("next") }).await;
    assert_eq!(fx.task("next", t(2)).await.pending_reason.unwrap().code, "no_agent");
}
