//! Lanes, their heads, and the tasks whose time has come.

use agentic_core::{
    lane::Lane,
    port::Edit,
    task::{NewTask, Priority, TaskEdit, TaskStatus},
};

use crate::{
    Fixture,
    expect::accepted,
    given::{assign, end, failed_until, finish, id, job, t, task},
};

fn urgent(name: &str, priority: Priority) -> NewTask {
    NewTask { priority, ..task(name) }
}

fn labelled(name: &str, labels: &[&str]) -> NewTask {
    NewTask { labels: labels.iter().map(|text| id(text)).collect(), ..task(name) }
}

async fn heads(fx: &Fixture, lane: &Lane, limit: usize) -> Vec<String> {
    fx.tasks.ready(lane, limit).await.unwrap().iter().map(|head| head.id.to_string()).collect()
}

async fn lanes(fx: &Fixture, limit: usize) -> Vec<(String, String)> {
    let views = fx.tasks.lanes(limit).await.unwrap().views;
    views.iter().map(|view| (view.lane.to_string(), view.head.id.to_string())).collect()
}

/// A lane orders its tasks by urgency, then age, then id.
pub async fn a_lane_is_in_order(fx: &Fixture) {
    fx.create_all(vec![urgent("young", Priority::Normal)], t(2)).await;
    fx.create_all(vec![urgent("z", Priority::Normal), urgent("a", Priority::Normal)], t(1)).await;
    let rest = vec![
        urgent("low", Priority::Low),
        urgent("critical", Priority::Critical),
        urgent("high", Priority::High),
    ];
    fx.create_all(rest, t(3)).await;
    let all = ["critical", "high", "a", "z", "young", "low"];
    assert_eq!(heads(fx, &Lane::default(), 10).await, all);
    assert_eq!(heads(fx, &Lane::default(), 3).await, all[..3], "at most as many as asked for");
    let head = &fx.tasks.lanes(10).await.unwrap().views[0].head;
    assert_eq!(
        (head.id.as_str(), head.priority, head.created_at, head.attempt),
        ("critical", Priority::Critical, t(3), 0)
    );
}

/// Tasks share a lane when they need the same labels, model and project.
pub async fn a_lane_is_labels_model_and_project(fx: &Fixture) {
    fx.create_all(vec![labelled("a", &["x", "y"]), labelled("b", &["y", "x"]), labelled("c", &["x"])], t(0))
        .await;
    fx.create_all(vec![NewTask { model: Some(id("m")), ..task("d") }], t(1)).await;
    fx.create_all(vec![NewTask { project: Some(id("p")), ..labelled("e", &["x"]) }], t(2)).await;
    let expected = [("x,y||", "a"), ("x||", "c"), ("|m|", "d"), ("x||p", "e")];
    assert_eq!(lanes(fx, 10).await, expected.map(|(lane, head)| (lane.to_owned(), head.to_owned())));
    assert_eq!(heads(fx, &id("x,y||"), 10).await, ["a", "b"]);
    assert!(heads(fx, &id("||"), 10).await.is_empty());
}

/// Lanes stand in the order of their heads, at most as many as asked for; one without a ready task is absent.
pub async fn lanes_are_in_the_order_of_their_heads(fx: &Fixture) {
    let tasks = vec![
        labelled("a", &["one"]),
        NewTask { priority: Priority::High, ..labelled("b", &["two"]) },
        NewTask { priority: Priority::Critical, ..labelled("c", &["three"]) },
        NewTask { not_before: Some(t(9)), ..labelled("d", &["later"]) },
    ];
    fx.create_all(tasks, t(0)).await;
    let pair = |lane: &str, head: &str| (lane.to_owned(), head.to_owned());
    let expected = [pair("three||", "c"), pair("two||", "b"), pair("one||", "a")];
    assert_eq!(lanes(fx, 10).await, expected);
    assert_eq!(lanes(fx, 2).await, expected[..2]);
}

/// More lanes than a store may read at once stand in the order of their heads too: those of equal age by id, to any limit.
pub async fn many_lanes_are_in_order(fx: &Fixture) {
    // The lanes' names stand the other way round than the ids of their heads.
    let of = |number: usize| (format!("l{:03}||", 999 - number), format!("t{number:03}"));
    let tasks = (0..600).map(|number| {
        let (lane, id) = of(number);
        labelled(&id, &[lane.trim_end_matches('|')])
    });
    fx.create_all(tasks.collect(), t(0)).await;
    fx.create_all(vec![NewTask { priority: Priority::High, ..labelled("urgent", &["m"]) }], t(1)).await;
    let first = ("m||".to_owned(), "urgent".to_owned());
    let all: Vec<_> = std::iter::once(first).chain((0..600).map(of)).collect();
    for limit in [0, 1, 2, 250, 251, 252, 600, 601, 1_000] {
        assert_eq!(lanes(fx, limit).await, all[..limit.min(all.len())], "{limit}");
    }
}

/// A task that runs, waits or is over stands in no lane; the next one is the head.
pub async fn a_claimed_task_leaves_its_lane(fx: &Fixture) {
    fx.create_all(vec![task("a"), task("b")], t(0)).await;
    fx.take(assign(&job("a", 1), "w", t(1))).await.unwrap();
    assert_eq!(heads(fx, &Lane::default(), 10).await, ["b"]);
    accepted(fx.ledger.finish(finish(end(&job("a", 1), "w", crate::given::released(), t(2)), None)).await);
    assert_eq!(heads(fx, &Lane::default(), 10).await, ["a", "b"], "given back at once");
    assert_eq!(fx.tasks.lanes(10).await.unwrap().views[0].head.attempt, 1);
}

/// What is due at an instant is moved into its lane in one step, exactly from that instant on, and once.
pub async fn promote_moves_what_is_due(fx: &Fixture) {
    let later = |name: &str, secs: i64| NewTask { not_before: Some(t(secs)), ..task(name) };
    fx.create_all(vec![later("a", 10), later("b", 20), later("c", 20), later("d", 21)], t(0)).await;
    assert_eq!(fx.tasks.promote_due(t(0), 10).await.unwrap(), 0);
    assert!(heads(fx, &Lane::default(), 10).await.is_empty());
    assert_eq!(fx.tasks.promote_due(t(20), 10).await.unwrap(), 3);
    assert_eq!(fx.tasks.promote_due(t(20), 10).await.unwrap(), 0);
    assert_eq!(heads(fx, &Lane::default(), 10).await, ["a", "b", "c"]);
    let promoted = fx.task("b", t(20)).await;
    assert_eq!((promoted.status, promoted.updated_at), (TaskStatus::Pending, t(0)), "nobody changed it");
}

/// A step promotes at most as many as asked for, the longest due first.
pub async fn promotion_is_bounded(fx: &Fixture) {
    let later = |name: &str, secs: i64| NewTask { not_before: Some(t(secs)), ..task(name) };
    fx.create_all(vec![later("a", 30), later("b", 10), later("c", 20)], t(0)).await;
    assert_eq!(fx.tasks.promote_due(t(99), 2).await.unwrap(), 2);
    assert_eq!(heads(fx, &Lane::default(), 10).await, ["b", "c"]);
    assert_eq!(fx.tasks.promote_due(t(99), 2).await.unwrap(), 1);
}

/// A task whose `not_before` has passed at its creation is ready at once; the instant itself counts.
pub async fn a_time_that_has_come_does_not_wait(fx: &Fixture) {
    let at = |name: &str, secs: i64| NewTask { not_before: Some(t(secs)), ..task(name) };
    fx.create_all(vec![at("past", -5), at("now", 0), at("next", 1)], t(0)).await;
    assert_eq!(heads(fx, &Lane::default(), 10).await, ["now", "past"]);
}

/// The earliest instant at which something becomes ready is known, and moves on.
pub async fn the_next_due_instant_is_known(fx: &Fixture) {
    assert_eq!(fx.tasks.next_due().await.unwrap(), None);
    let later = |name: &str, secs: i64| NewTask { not_before: Some(t(secs)), ..task(name) };
    fx.create_all(vec![later("a", 30), later("b", 10), task("c")], t(0)).await;
    assert_eq!(fx.tasks.next_due().await.unwrap(), Some(t(10)));
    fx.tasks.promote_due(t(10), 10).await.unwrap();
    assert_eq!(fx.tasks.next_due().await.unwrap(), Some(t(30)));
    fx.tasks.promote_due(t(30), 10).await.unwrap();
    assert_eq!(fx.tasks.next_due().await.unwrap(), None);
}

/// A retry waits outside its lane until `retry_at`.
pub async fn a_retry_waits_for_its_time(fx: &Fixture) {
    let first = fx.running("a", "w").await;
    accepted(fx.ledger.finish(finish(end(&first, "w", failed_until(t(15)), t(5)), None)).await);
    assert!(heads(fx, &Lane::default(), 10).await.is_empty());
    assert_eq!(fx.tasks.next_due().await.unwrap(), Some(t(15)));
    assert_eq!(fx.tasks.promote_due(t(14), 10).await.unwrap(), 0);
    assert_eq!(fx.tasks.promote_due(t(15), 10).await.unwrap(), 1);
    assert_eq!(heads(fx, &Lane::default(), 10).await, ["a"]);
}

/// A retry that is due at once stands in its lane at once.
pub async fn a_retry_that_is_due_does_not_wait(fx: &Fixture) {
    let first = fx.running("a", "w").await;
    accepted(fx.ledger.finish(finish(end(&first, "w", failed_until(t(5)), t(5)), None)).await);
    assert_eq!(heads(fx, &Lane::default(), 10).await, ["a"]);
    assert_eq!(fx.tasks.promote_due(t(5), 10).await.unwrap(), 0);
}

/// The later of `not_before` and `retry_at` counts.
pub async fn the_later_gate_counts(fx: &Fixture) {
    fx.create(NewTask { not_before: Some(t(1)), ..task("a") }).await;
    let first = job("a", 1);
    fx.take(assign(&first, "w", t(1))).await.unwrap();
    accepted(fx.ledger.finish(finish(end(&first, "w", failed_until(t(5)), t(2)), None)).await);
    let edit = TaskEdit { not_before: Some(t(9)), ..TaskEdit::default() };
    let edited = fx.tasks.edit(Edit { task: id("a"), edit, now: t(3) }).await.unwrap();
    assert_eq!(edited.ready_at(), t(9));
    assert_eq!(fx.tasks.next_due().await.unwrap(), Some(t(9)));
}

/// Labels and models can be edited: the task changes its lane, or leaves it until its time.
pub async fn an_edit_moves_between_lanes(fx: &Fixture) {
    fx.create(labelled("a", &["x"])).await;
    let edit = |edit: TaskEdit, secs: i64| Edit { task: id("a"), edit, now: t(secs) };
    let relabel = TaskEdit { labels: Some([id("y")].into()), model: Some(id("m")), ..TaskEdit::default() };
    fx.tasks.edit(edit(relabel, 1)).await.unwrap();
    assert_eq!(lanes(fx, 10).await, [("y|m|".to_owned(), "a".to_owned())]);
    let delay = TaskEdit { not_before: Some(t(50)), ..TaskEdit::default() };
    fx.tasks.edit(edit(delay, 2)).await.unwrap();
    assert!(lanes(fx, 10).await.is_empty());
    let hurry = TaskEdit { not_before: Some(t(3)), ..TaskEdit::default() };
    fx.tasks.edit(edit(hurry, 4)).await.unwrap();
    assert_eq!(lanes(fx, 10).await.len(), 1);
}
