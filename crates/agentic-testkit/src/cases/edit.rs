//! Editing what waits.

use agentic_core::{
    error::{ConflictCode, Kind},
    event::EventType,
    port::Edit,
    task::{MAX_TEXT, Priority, TaskEdit, TaskStatus},
};

use crate::{
    Fixture,
    expect::{accepted, conflict, invalid, not_found},
    given::{after, done, end, finish, id, t, task},
};

fn edit(name: &str, edit: TaskEdit, secs: i64) -> Edit {
    Edit { task: id(name), edit, now: t(secs) }
}

fn described(text: &str) -> TaskEdit {
    TaskEdit { description: Some(text.to_owned()), ..TaskEdit::default() }
}

/// An edit changes what it names and leaves the rest.
pub async fn an_edit_changes_what_it_names(fx: &Fixture) {
    fx.create(agentic_core::task::NewTask { labels: [id("x")].into(), ..task("a") }).await;
    let all = TaskEdit {
        priority: Some(Priority::High),
        labels: Some([id("y"), id("z")].into()),
        model: Some(id("m")),
        not_before: Some(t(90)),
        description: Some("new".to_owned()),
    };
    fx.tasks.edit(edit("a", all, 5)).await.unwrap();
    let task = fx.task("a", t(5)).await;
    assert_eq!((task.priority, task.labels), (Priority::High, [id("y"), id("z")].into()));
    assert_eq!((task.model, task.not_before, task.description.as_str()), (Some(id("m")), Some(t(90)), "new"));
    assert_eq!((task.title.as_str(), task.updated_at, task.created_at), ("do a", t(5), t(0)));
    let task = fx.tasks.edit(edit("a", described("newer"), 6)).await.unwrap();
    assert_eq!(
        (task.priority, task.model, task.description.as_str()),
        (Priority::High, Some(id("m")), "newer")
    );
    assert_eq!(fx.count(EventType::TaskUpdated).await, 2);
}

/// An edit that changes nothing tells nothing.
pub async fn an_empty_edit_tells_nothing(fx: &Fixture) {
    fx.create(task("a")).await;
    fx.tasks.edit(edit("a", TaskEdit::default(), 1)).await.unwrap();
    fx.tasks.edit(edit("a", described(""), 2)).await.unwrap();
    assert_eq!(fx.kinds("a").await, [EventType::TaskCreated]);
}

/// A blocked task can be edited and stays blocked.
pub async fn a_blocked_task_is_edited_in_place(fx: &Fixture) {
    fx.create_all(vec![task("a"), after("b", &["a"])], t(0)).await;
    let task = fx.tasks.edit(edit("b", described("new"), 1)).await.unwrap();
    assert_eq!((task.status, task.description.as_str()), (TaskStatus::Blocked, "new"));
}

/// What runs or is over cannot be edited.
pub async fn only_what_waits_is_edited(fx: &Fixture) {
    let job = fx.running("a", "w").await;
    let holder = conflict(fx.tasks.edit(edit("a", described("x"), 1)).await, ConflictCode::IllegalTransition);
    assert_eq!(holder, Some(id("w")));
    accepted(fx.ledger.finish(finish(end(&job, "w", done(""), t(2)), None)).await);
    conflict(fx.tasks.edit(edit("a", described("x"), 3)).await, ConflictCode::IllegalTransition);
    not_found(fx.tasks.edit(edit("nobody", described("x"), 3)).await, Kind::Task, "nobody");
}

/// What breaks a bound is refused by name.
pub async fn an_edit_keeps_the_bounds(fx: &Fixture) {
    fx.create(task("a")).await;
    invalid(fx.tasks.edit(edit("a", described("\0"), 1)).await, "description");
    invalid(fx.tasks.edit(edit("a", described(&"x".repeat(MAX_TEXT + 1)), 1)).await, "description");
    let many = (0..65).map(|i| id(&format!("l{i}"))).collect();
    let labels = TaskEdit { labels: Some(many), ..TaskEdit::default() };
    invalid(fx.tasks.edit(edit("a", labels, 1)).await, "labels");
    assert_eq!(fx.kinds("a").await, [EventType::TaskCreated]);
}

/// Callers' clocks differ a little: a change from the past does not make a task look older.
pub async fn a_task_never_grows_younger(fx: &Fixture) {
    fx.create_all(vec![task("a")], t(5)).await;
    let edited = fx.tasks.edit(edit("a", described("new"), 3)).await.unwrap();
    assert_eq!((edited.description.as_str(), edited.updated_at), ("new", t(5)));
}
