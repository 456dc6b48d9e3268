//! What shares a transaction, and what happens when it fails.

use std::time::Duration;

use agentic_core::{
    amount::Amount,
    error::ConflictCode,
    event::EventType,
    job::JobOutcome,
    limit::{Limit, Meter, Scope, Window},
    port::{Admission, Report},
};
use agentic_store_sqlite::SqliteOptions;
use agentic_testkit::{
    Fixture,
    given::{admission, assign, concurrent, figures, id, job, n, report, settle, t},
};
use tokio::task::yield_now;

use crate::world::{World, release, submit};

#[tokio::test]
async fn what_waits_shares_one_transaction() {
    let world = World::new();
    let store = world.open();
    let (ports, held) = (store.ports(), world.hold());
    let lets_in = async { release(&held) };
    let (a, b, c, ()) = tokio::join!(submit(&ports, "a"), submit(&ports, "b"), submit(&ports, "c"), lets_in);
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    assert_eq!((store.commands(), store.batches()), (3, 1));
}

#[tokio::test]
async fn a_batch_is_bounded() {
    let world = World::new();
    let store = world.open_with(SqliteOptions::new().max_batch(2));
    let (ports, held) = (store.ports(), world.hold());
    let lets_in = async { release(&held) };
    let (a, b, c, ()) = tokio::join!(submit(&ports, "a"), submit(&ports, "b"), submit(&ports, "c"), lets_in);
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    assert_eq!((store.commands(), store.batches()), (3, 2));
}

#[tokio::test]
async fn a_refusal_does_not_disturb_its_batch() {
    let world = World::new();
    let store = world.open();
    let ports = store.ports();
    submit(&ports, "a").await.unwrap();
    let held = world.hold();
    let lets_in = async { release(&held) };
    let (again, b, ()) = tokio::join!(submit(&ports, "a"), submit(&ports, "b"), lets_in);
    assert!(again.unwrap_err().is_conflict(ConflictCode::Exists));
    b.unwrap();
    assert_eq!(store.batches(), 2);
}

#[tokio::test]
async fn a_storage_error_is_only_its_own_commands() {
    let world = World::new();
    let store = world.open();
    let ports = store.ports();
    world
        .raw()
        .execute_batch(
            "CREATE TRIGGER boom BEFORE INSERT ON tasks WHEN NEW.id = 'bad' BEGIN SELECT RAISE(ABORT, 'boom'); END",
        )
        .unwrap();
    let held = world.hold();
    let lets_in = async { release(&held) };
    let (a, bad, c, ()) =
        tokio::join!(submit(&ports, "a"), submit(&ports, "bad"), submit(&ports, "c"), lets_in);
    a.unwrap();
    assert_eq!(bad.unwrap_err().code(), "backend");
    c.unwrap();
    assert_eq!((store.commands(), store.batches()), (6, 4), "together, and then each alone");
    let page = ports.events.after(0, 10).await.unwrap();
    let told: Vec<_> = page.events.iter().map(|event| (event.id, event.kind)).collect();
    assert_eq!(
        told,
        [(1, EventType::TaskCreated), (2, EventType::TaskCreated)],
        "nothing was kept of the batch"
    );
    assert_eq!((world.count("tasks"), world.count("task_texts")), (2, 2));
}

#[tokio::test]
async fn a_full_queue_is_unavailable_at_once() {
    let world = World::new();
    let store = world.open_with(SqliteOptions::new().queue(1));
    let held = world.hold();
    let mut calls = Vec::new();
    for name in ["a", "b", "c", "d"] {
        let ports = store.ports();
        calls.push(tokio::spawn(async move { submit(&ports, name).await }));
    }
    // One is with the writer at most, and one in the queue.
    while calls.iter().filter(|call| call.is_finished()).count() < 2 {
        yield_now().await;
    }
    release(&held);
    let mut made = 0;
    for call in calls {
        match call.await.unwrap() {
            Ok(_) => made += 1,
            Err(error) => assert!(error.is_retryable() && error.to_string().contains("queue"), "{error}"),
        }
    }
    assert!((1..=2).contains(&made));
    submit(&store.ports(), "later").await.unwrap();
}

#[tokio::test]
async fn a_file_that_another_process_holds_is_unavailable() {
    let world = World::new();
    let store = world.open_with(SqliteOptions::new().busy_timeout(Duration::from_millis(20)));
    let (ports, held) = (store.ports(), world.hold());
    let (a, b) = tokio::join!(submit(&ports, "a"), submit(&ports, "b"));
    assert!(a.unwrap_err().is_retryable() && b.unwrap_err().is_retryable());
    assert!(ports.tasks.counts().await.unwrap().is_empty(), "reads go on");
    release(&held);
    submit(&ports, "a").await.unwrap();
}

#[tokio::test]
async fn what_was_accepted_is_done_before_the_file_closes() {
    let world = World::new();
    let store = world.open();
    let ports = store.ports();
    let held = world.hold();
    let mut call = Box::pin(async move { submit(&ports, "a").await });
    // Polled once, the call is in the queue; then nobody waits for it any more.
    let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(call.as_mut().poll(cx).is_ready())).await;
    assert!(!polled);
    release(&held);
    drop((call, store));
    assert_eq!(world.count("tasks"), 1);
}

#[tokio::test]
async fn meters_saturate() {
    let world = World::new();
    let store = world.open();
    let ports = store.ports();
    let limit = Limit::new(Scope::Fleet, Meter::Tokens, Window::Lifetime, None);
    let grow = |attempt| Report {
        limits: vec![limit.clone()],
        ..report(&job("t", attempt), "w", figures(1_000, 0), t(0))
    };
    ports.allowances.report(grow(1)).await.unwrap();
    world.raw().execute("UPDATE meters SET value = 9223372036854775000 WHERE meter = 'tokens'", []).unwrap();
    ports.allowances.report(grow(2)).await.unwrap();
    ports.allowances.report(grow(3)).await.unwrap();
    let reading = ports.allowances.readings(std::slice::from_ref(&limit.key), t(0)).await.unwrap().remove(0);
    assert_eq!((reading.used, reading.buckets), (Amount::MAX, vec![(0, i64::MAX)]));
}

#[tokio::test]
async fn a_pruned_task_leaves_nothing_behind() {
    let world = World::new();
    let store = world.open();
    let ports = store.ports();
    submit(&ports, "a").await.unwrap();
    ports.ledger.assign(assign(&job("a", 1), "w", t(0))).await.unwrap();
    let cancel = agentic_core::port::CancelTask {
        task: id("a"),
        status: agentic_core::task::TaskStatus::Cancelled,
        reason: "enough".to_owned(),
        now: t(1),
    };
    ports.tasks.cancel(cancel).await.unwrap();
    assert_eq!(ports.tasks.prune(t(9), 10, t(99)).await.unwrap(), 1);
    for table in ["tasks", "task_texts", "attempts", "dependencies"] {
        assert_eq!(world.count(table), 0, "{table}");
    }
    submit(&ports, "a").await.unwrap();
    let history = ports.tasks.history(&id("a"), 0, 10).await.unwrap();
    assert_eq!(history.len(), 1, "the log keeps them, but they are not of this task");
}

#[tokio::test]
async fn a_folded_ledger_still_adds_up() {
    let world = World::new();
    let store = world.open();
    let fx = Fixture::new(store.ports());
    let day = 86_400;
    let limits = [
        Limit::new(Scope::Agent(id("w")), Meter::Tokens, Window::Day, Some(n(100))),
        Limit::new(Scope::Model(id("m")), Meter::Requests, Window::HOUR, Some(n(100))),
        Limit::new(Scope::Model(id("m")), Meter::Tokens, Window::Lifetime, Some(n(100))),
    ];
    fx.spent(&job("a", 1), &limits, 30, t(0)).await;
    fx.spent(&job("b", 1), &limits, 20, t(day)).await;
    assert_eq!((world.count("meters"), world.count("opening"), world.count("entries")), (5, 0, 4));
    fx.events.trim(t(day - 1), 100).await.unwrap();
    fx.check().await;
    assert_eq!((world.count("meters"), world.count("opening"), world.count("entries")), (3, 1, 2));
    for (limit, used) in limits.iter().zip([20, 1, 50]) {
        assert_eq!(fx.used(limit, t(day)).await, (used, 0), "{}", limit.key);
    }
    fx.events.trim(t(3 * day), 100).await.unwrap();
    fx.check().await;
    assert_eq!((world.count("meters"), world.count("opening"), world.count("entries")), (1, 1, 0));
    for (limit, used) in limits.iter().zip([0, 0, 50]) {
        assert_eq!(fx.used(limit, t(3 * day)).await, (used, 0), "{}", limit.key);
    }
    fx.spent(&job("c", 1), &limits, 10, t(4 * day)).await;
    fx.check().await;
}

#[tokio::test]
async fn a_batch_sees_what_it_put() {
    let world = World::new();
    let store = world.open();
    let ports = store.ports();
    let one = [concurrent("w", 1)];
    let admit = |name: &str, limits: &[Limit]| {
        let admission = admission(&job(name, 1), "w", t(0));
        ports.allowances.admit(Admission { limits: limits.to_vec(), ..admission })
    };
    admit("a", &one).await.unwrap();
    let before = store.batches();
    let held = world.hold();
    let over = ports.allowances.settle(settle(&job("a", 1), JobOutcome::Released, t(1)));
    let lets_in = async { release(&held) };
    let (over, b, c, ()) = tokio::join!(over, admit("b", &one), admit("c", &one), lets_in);
    over.unwrap();
    b.unwrap();
    assert_eq!(c.unwrap_err().code(), "refused_by_limit", "b has the one place");
    let held = world.hold();
    let void = ports.allowances.settle(settle(&job("b", 1), JobOutcome::Released, t(1)));
    let lets_in = async { release(&held) };
    let (void, d, e, ()) = tokio::join!(void, admit("d", &[]), admit("e", &one), lets_in);
    void.unwrap();
    d.unwrap();
    assert_eq!(e.unwrap_err().code(), "refused_by_limit", "d has the one place");
    assert_eq!(store.batches() - before, 2);
}
