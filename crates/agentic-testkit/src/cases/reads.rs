//! Reading tasks: one, a page, the counts, and why they wait.

use agentic_core::{
    error::Kind,
    port::CancelTask,
    task::{NewTask, Page, Priority, Task, TaskCursor, TaskFilter, TaskStatus},
};

use crate::{
    Fixture,
    expect::{accepted, not_found},
    given::{after, assign, done, end, failed_until, finish, id, job, t, task},
};

async fn ids(fx: &Fixture, filter: TaskFilter) -> Vec<String> {
    let tasks = fx.tasks.list(&filter, &Page::first(100), t(9)).await.unwrap();
    tasks.into_iter().map(|task| task.id.to_string()).collect()
}

/// A task that is not there is not found.
pub async fn a_missing_task_is_not_found(fx: &Fixture) {
    not_found(fx.tasks.get(&id("nobody"), t(0)).await, Kind::Task, "nobody");
    assert_eq!(fx.tasks.attempt(&job("nobody", 1)).await.unwrap(), None);
    fx.create(task("a")).await;
    assert_eq!(fx.tasks.attempt(&job("a", 1)).await.unwrap(), None, "there was none yet");
}

/// Filters can be told apart and combined.
pub async fn a_list_is_filtered(fx: &Fixture) {
    let one = NewTask {
        labels: [id("x"), id("y")].into(),
        priority: Priority::High,
        project: Some(id("p")),
        ..task("one")
    };
    let two = NewTask { labels: [id("x")].into(), project: Some(id("p")), ..task("two") };
    let three = NewTask { priority: Priority::High, project: Some(id("p2")), ..task("three") };
    fx.create_all(vec![one, two, three, after("four", &["one"])], t(0)).await;
    fx.take(assign(&job("two", 1), "w", t(1))).await.unwrap();
    let any = TaskFilter::default;
    assert_eq!(ids(fx, any()).await, ["four", "one", "three", "two"]);
    assert_eq!(ids(fx, TaskFilter { status: Some(TaskStatus::Blocked), ..any() }).await, ["four"]);
    assert_eq!(ids(fx, TaskFilter { labels: [id("x")].into(), ..any() }).await, ["one", "two"]);
    assert_eq!(ids(fx, TaskFilter { labels: [id("x"), id("y")].into(), ..any() }).await, ["one"]);
    assert_eq!(ids(fx, TaskFilter { priority: Some(Priority::High), ..any() }).await, ["one", "three"]);
    assert_eq!(ids(fx, TaskFilter { project: Some(id("p")), ..any() }).await, ["one", "two"]);
    assert_eq!(ids(fx, TaskFilter { claimed_by: Some(id("w")), ..any() }).await, ["two"]);
    let both = TaskFilter { priority: Some(Priority::High), project: Some(id("p")), ..any() };
    assert_eq!(ids(fx, both).await, ["one"]);
    let none = TaskFilter { status: Some(TaskStatus::Failed), ..any() };
    assert!(ids(fx, none).await.is_empty());
}

/// Who held a task when it ended is found; who gave it back is not.
pub async fn a_list_finds_the_last_holder(fx: &Fixture) {
    for (name, ending) in [("a", done("")), ("b", crate::given::released())] {
        let job = fx.running(name, "w").await;
        accepted(fx.ledger.finish(finish(end(&job, "w", ending, t(1)), None)).await);
    }
    assert_eq!(ids(fx, TaskFilter { claimed_by: Some(id("w")), ..TaskFilter::default() }).await, ["a"]);
}

/// Pages follow each other by creation and id, skip nothing and repeat nothing, whatever changes between them.
pub async fn pages_follow_each_other(fx: &Fixture) {
    for (second, names) in [(3, ["m", "c"]), (1, ["z", "a"]), (2, ["k", "b"])] {
        fx.create_all(names.iter().map(|name| task(name)).collect(), t(second)).await;
    }
    let order = ["a", "z", "b", "k", "c", "m"];
    let mut page = Page::first(2);
    let mut seen: Vec<Task> = Vec::new();
    while seen.len() < order.len() {
        let rows = fx.tasks.list(&TaskFilter::default(), &page, t(5)).await.unwrap();
        assert_eq!(rows.len(), 2);
        fx.take(assign(&job(rows[0].id.as_str(), 1), "w", t(5))).await.unwrap();
        let last = rows.last().unwrap();
        page.cursor = Some(TaskCursor { created_at: last.created_at, id: last.id.clone() });
        seen.extend(rows);
    }
    assert_eq!(seen.iter().map(|task| task.id.as_str()).collect::<Vec<_>>(), order);
    assert!(fx.tasks.list(&TaskFilter::default(), &page, t(5)).await.unwrap().is_empty());
}

/// A cursor needs no task to stand on.
pub async fn a_cursor_needs_no_task(fx: &Fixture) {
    fx.create_all(vec![task("a"), task("c")], t(1)).await;
    let cursor = |secs: i64, name: &str| Some(TaskCursor { created_at: t(secs), id: id(name) });
    for (cursor, expected) in [
        (cursor(1, "b"), vec!["c"]),
        (cursor(0, "z"), vec!["a", "c"]),
        (cursor(1, "a"), vec!["c"]),
        (cursor(2, "a"), vec![]),
    ] {
        let page = Page { limit: 10, cursor };
        let rows = fx.tasks.list(&TaskFilter::default(), &page, t(5)).await.unwrap();
        assert_eq!(rows.iter().map(|task| task.id.as_str()).collect::<Vec<_>>(), expected, "{page:?}");
    }
}

/// A filter and a page work together: a page is full as long as enough tasks match.
pub async fn a_page_is_full_of_what_matches(fx: &Fixture) {
    let urgent = |i: usize| if i.is_multiple_of(3) { Priority::High } else { Priority::Low };
    let tasks = (0..30).map(|i| NewTask { priority: urgent(i), ..task(&format!("t{i:02}")) }).collect();
    fx.create_all(tasks, t(0)).await;
    let filter = TaskFilter { priority: Some(Priority::High), ..TaskFilter::default() };
    let rows = fx.tasks.list(&filter, &Page::first(4), t(0)).await.unwrap();
    assert_eq!(rows.iter().map(|task| task.id.as_str()).collect::<Vec<_>>(), ["t00", "t03", "t06", "t09"]);
}

/// Every status is counted; one without a task is absent.
pub async fn counts_are_by_status(fx: &Fixture) {
    assert!(fx.tasks.counts().await.unwrap().is_empty());
    fx.create_all(vec![task("a"), task("b"), task("c"), task("d"), after("e", &["d"])], t(0)).await;
    let cancel =
        CancelTask { task: id("a"), status: TaskStatus::Cancelled, reason: String::new(), now: t(1) };
    fx.tasks.cancel(cancel).await.unwrap();
    fx.take(assign(&job("b", 1), "w", t(1))).await.unwrap();
    fx.take(assign(&job("c", 1), "w", t(1))).await.unwrap();
    accepted(fx.ledger.finish(finish(end(&job("c", 1), "w", done(""), t(2)), None)).await);
    let counts = fx.tasks.counts().await.unwrap();
    let expected = [
        TaskStatus::Pending,
        TaskStatus::InProgress,
        TaskStatus::Completed,
        TaskStatus::Blocked,
        TaskStatus::Cancelled,
    ];
    assert_eq!(counts, expected.map(|status| (status, 1)).into());
}

/// A task that waits says why by a stable code, and until when where that is known; another says nothing.
pub async fn a_waiting_task_says_why(fx: &Fixture) {
    let later = NewTask { not_before: Some(t(50)), ..task("later") };
    fx.create_all(
        vec![task("ready"), later, after("waiting", &["ready"]), task("failed"), task("runs")],
        t(0),
    )
    .await;
    fx.take(assign(&job("runs", 1), "w", t(1))).await.unwrap();
    fx.take(assign(&job("failed", 1), "w", t(1))).await.unwrap();
    accepted(fx.ledger.finish(finish(end(&job("failed", 1), "w", failed_until(t(40)), t(2)), None)).await);
    let why = |name: &'static str, secs: i64| async move {
        let reason = fx.task(name, t(secs)).await.pending_reason?;
        assert!(!reason.detail.is_empty(), "{name}");
        Some((reason.code, reason.retry_at))
    };
    assert_eq!(why("ready", 3).await, Some(("queued".to_owned(), None)));
    assert_eq!(why("later", 3).await, Some(("not_before".to_owned(), Some(t(50)))));
    assert_eq!(why("later", 50).await, Some(("queued".to_owned(), None)), "its time has come");
    assert_eq!(why("failed", 3).await, Some(("backoff".to_owned(), Some(t(40)))));
    assert_eq!(why("waiting", 3).await, Some(("dependency".to_owned(), None)));
    assert_eq!(why("runs", 3).await, None);
    let listed = fx.tasks.list(&TaskFilter::default(), &Page::first(10), t(3)).await.unwrap();
    for task in listed {
        assert_eq!(task, fx.task(task.id.as_str(), t(3)).await, "a list reads as get does");
    }
}

/// What an attempt brought is read as it was sent.
pub async fn a_result_is_kept(fx: &Fixture) {
    let job = fx.running("a", "w").await;
    let result = agentic_core::task::TaskResult {
        success: true,
        output: "\u{1b}]0;title\u{7} line\r\n<b>".to_owned(),
        artifacts: vec!["out/a b.txt".to_owned(), "../x".to_owned()],
        error_message: Some("a warning".to_owned()),
    };
    let ending = agentic_core::attempt::Ending::Completed(result.clone());
    let task = accepted(fx.ledger.finish(finish(end(&job, "w", ending, t(4)), None)).await);
    assert_eq!(task.result.as_ref(), Some(&result));
    let task = fx.task("a", t(5)).await;
    assert_eq!((task.result, task.progress, task.last_attempt), (Some(result), 100, Some(t(4))));
    let attempt = fx.tasks.attempt(&job).await.unwrap().unwrap();
    assert_eq!((attempt.started_at, attempt.ended_at), (Some(t(0)), Some(t(4))));
}
