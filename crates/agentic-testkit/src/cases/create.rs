//! Creating tasks.

use agentic_core::{
    error::ConflictCode,
    event::EventType,
    task::{NewTask, Page, TaskFilter},
};

use crate::{
    Fixture,
    expect::{conflict, invalid},
    given::{after, create, id, t, task},
};

async fn tasks_in(fx: &Fixture) -> usize {
    fx.tasks.list(&TaskFilter::default(), &Page::first(1_000), t(0)).await.unwrap().len()
}

/// A batch with one task that cannot be created creates none, and tells nothing.
pub async fn create_is_all_or_nothing(fx: &Fixture) {
    fx.create(task("taken")).await;
    let before = fx.events.last().await.unwrap();
    let batch = |bad: NewTask| create(vec![task("a"), bad, task("b")], t(1));
    conflict(fx.tasks.create_many(batch(task("taken"))).await, ConflictCode::Exists);
    invalid(fx.tasks.create_many(batch(after("c", &["nobody"]))).await, "dependencies");
    invalid(fx.tasks.create_many(batch(NewTask { title: " ".into(), ..task("c") })).await, "title");
    assert_eq!(tasks_in(fx).await, 1);
    assert_eq!(fx.events.last().await.unwrap(), before);
}

/// The same request under the same key makes one task, whatever id it came with, and tells it once.
pub async fn create_by_key_is_once(fx: &Fixture) {
    let keyed =
        |name: &str| NewTask { idempotency_key: Some("k".into()), title: "same".into(), ..task(name) };
    let first = fx.tasks.create_many(create(vec![keyed("a")], t(0))).await.unwrap();
    assert!(!first[0].replayed);
    let again = fx.tasks.create_many(create(vec![keyed("b")], t(9))).await.unwrap();
    assert!(again[0].replayed);
    assert_eq!((&again[0].task.id, again[0].task.created_at), (&id("a"), t(0)));
    assert_eq!(tasks_in(fx).await, 1);
    assert_eq!(fx.count(EventType::TaskCreated).await, 1);
}
