//! Creating tasks.

use agentic_core::{
    error::ConflictCode,
    event::EventType,
    port::CreateMany,
    task::{MAX_BATCH, MAX_BLOCKERS, MAX_TEXT, NewTask, Page, Priority, Task, TaskFilter, TaskStatus},
};

use crate::{
    Fixture,
    expect::{conflict, invalid},
    fixture::at_once,
    given::{after, create, id, n, t, task},
};

async fn tasks_in(fx: &Fixture) -> usize {
    fx.tasks.list(&TaskFilter::default(), &Page::first(1_000), t(0)).await.unwrap().len()
}

fn keyed(name: &str, key: &str) -> NewTask {
    NewTask { idempotency_key: Some(key.to_owned()), title: "same".to_owned(), ..task(name) }
}

/// A batch with one task that cannot be created creates none, and tells nothing.
pub async fn create_is_all_or_nothing(fx: &Fixture) {
    fx.create(task("taken")).await;
    let before = fx.events.last().await.unwrap();
    let batch = |bad: NewTask| create(vec![task("a"), bad, task("b")], t(1));
    conflict(fx.tasks.create_many(batch(task("taken"))).await, ConflictCode::Exists);
    invalid(fx.tasks.create_many(batch(after("c", &["nobody"]))).await, "dependencies");
    invalid(fx.tasks.create_many(batch(NewTask { title: " ".to_owned(), ..task("c") })).await, "title");
    assert_eq!(tasks_in(fx).await, 1);
    assert_eq!(fx.events.last().await.unwrap(), before);
}

/// The same request under the same key makes one task, whatever id it came with, and tells it once.
pub async fn create_by_key_is_once(fx: &Fixture) {
    let first = fx.tasks.create_many(create(vec![keyed("a", "k")], t(0))).await.unwrap();
    assert!(!first[0].replayed);
    let again = fx.tasks.create_many(create(vec![keyed("b", "k")], t(9))).await.unwrap();
    assert!(again[0].replayed);
    assert_eq!((&again[0].task.id, again[0].task.created_at), (&id("a"), t(0)));
    assert_eq!(tasks_in(fx).await, 1);
    assert_eq!(fx.count(EventType::TaskCreated).await, 1);
}

/// A rehearsal answers as creating would, with the reason why each would wait, and refuses the same; it writes nothing.
pub async fn a_rehearsal_answers_as_creating_and_writes_nothing(fx: &Fixture) {
    fx.create_all(vec![keyed("old", "k"), task("open")], t(0)).await;
    let before = (tasks_in(fx).await, fx.events.last().await.unwrap());
    let rehearsal = |tasks: Vec<NewTask>| CreateMany { rehearse: true, ..create(tasks, t(1)) };
    let later = NewTask { not_before: Some(t(9)), ..task("later") };
    let batch = vec![task("a"), after("b", &["a"]), keyed("c", "k"), after("d", &["open", "c"]), later];
    let said = fx.tasks.create_many(rehearsal(batch.clone())).await.unwrap();
    assert_eq!((tasks_in(fx).await, fx.events.last().await.unwrap()), before);
    let code = |task: &Task| task.pending_reason.as_ref().map(|reason| reason.code.clone());
    let codes: Vec<_> = said.iter().filter(|created| !created.replayed).map(|c| code(&c.task)).collect();
    assert_eq!(
        codes.iter().flatten().collect::<Vec<_>>(),
        ["queued", "dependency", "dependency", "not_before"]
    );
    let made = fx.tasks.create_many(create(batch, t(1))).await.unwrap();
    for (said, made) in said.iter().zip(&made) {
        assert_eq!((&said.task.id, said.replayed), (&made.task.id, made.replayed));
        if !made.replayed {
            assert_eq!(Task { pending_reason: None, ..said.task.clone() }, made.task);
            assert_eq!(code(&said.task), code(&fx.task(made.task.id.as_str(), t(1)).await));
        }
    }
    for bad in [task("open"), after("x", &["nobody"]), NewTask { title: "other".into(), ..keyed("x", "k") }] {
        let refused = fx.tasks.create_many(rehearsal(vec![bad.clone()])).await.unwrap_err();
        assert_eq!(refused, fx.tasks.create_many(create(vec![bad], t(1))).await.unwrap_err());
    }
    let many = (0..MAX_BLOCKERS).map(|number| after(&format!("w{number}"), &["open"])).collect();
    let refused = fx.tasks.create_many(rehearsal(many)).await;
    invalid(refused, "dependencies");
}

/// A key that came with another request before is refused, whatever else the batch holds.
pub async fn a_key_with_another_request_is_refused(fx: &Fixture) {
    fx.create(keyed("a", "k")).await;
    let other = NewTask { title: "another".to_owned(), ..keyed("b", "k") };
    let batch = create(vec![task("c"), other], t(1));
    conflict(fx.tasks.create_many(batch).await, ConflictCode::IdempotencyMismatch);
    assert_eq!(tasks_in(fx).await, 1);
}

/// A replay answers with the task as it stands now, also when it is over.
pub async fn a_replay_answers_with_the_present(fx: &Fixture) {
    fx.create(keyed("a", "k")).await;
    let cancel = agentic_core::port::CancelTask {
        task: id("a"),
        status: TaskStatus::Cancelled,
        reason: "no".to_owned(),
        now: t(1),
    };
    fx.tasks.cancel(cancel).await.unwrap();
    let again = fx.tasks.create_many(create(vec![keyed("b", "k")], t(2))).await.unwrap();
    assert_eq!((again[0].replayed, again[0].task.status), (true, TaskStatus::Cancelled));
}

/// Of sixteen submitters with the same key at once, one makes the task and all get it.
pub async fn a_key_raced_for_makes_one_task(fx: &Fixture) {
    let answers = at_once(16, |i| {
        let (tasks, create) = (fx.tasks.clone(), create(vec![keyed(&format!("a{i}"), "k")], t(0)));
        async move { tasks.create_many(create).await.map(|mut created| created.remove(0)) }
    })
    .await;
    let created: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    assert_eq!(created.iter().filter(|created| !created.replayed).count(), 1);
    assert!(created.iter().all(|one| one.task.id == created[0].task.id), "{created:?}");
    assert_eq!(tasks_in(fx).await, 1);
}

/// Of sixteen submitters with the same id at once, one makes the task.
pub async fn an_id_raced_for_is_given_once(fx: &Fixture) {
    let answers = at_once(16, |_| {
        let tasks = fx.tasks.clone();
        async move { tasks.create_many(create(vec![task("a")], t(0))).await }
    })
    .await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    for lost in answers.into_iter().filter(Result::is_err) {
        conflict(lost, ConflictCode::Exists);
    }
}

/// Answers and events stand in the order of the request, replays among them.
pub async fn a_batch_keeps_its_order(fx: &Fixture) {
    fx.create(keyed("m", "k")).await;
    let batch = create(vec![task("z"), keyed("n", "k"), task("a"), task("q")], t(1));
    let created = fx.tasks.create_many(batch).await.unwrap();
    let ids: Vec<_> = created.iter().map(|created| created.task.id.as_str()).collect();
    assert_eq!(ids, ["z", "m", "a", "q"]);
    let told: Vec<_> = fx.log().await.into_iter().filter_map(|event| event.task_id).collect();
    assert_eq!(told, [id("m"), id("z"), id("a"), id("q")]);
}

/// A dependency on a task of the batch that was replayed is a dependency on the task that it became.
pub async fn a_replay_is_depended_on_under_its_own_id(fx: &Fixture) {
    fx.create(keyed("old", "k")).await;
    let batch = create(vec![keyed("new", "k"), after("b", &["new"])], t(1));
    fx.tasks.create_many(batch).await.unwrap();
    let task = fx.task("b", t(1)).await;
    assert_eq!((task.dependencies, task.status), (vec![id("old")], TaskStatus::Blocked));
}

/// Everything that was asked for is kept, hostile text letter by letter.
pub async fn what_was_asked_is_kept(fx: &Fixture) {
    let hostile = "\u{1b}[31m'); DROP TABLE tasks; -- <script>🦀\u{202e} ${HOME}\r\n\t\"\\ %s {}";
    fx.create(task("first")).await;
    let asked = NewTask {
        description: hostile.to_owned(),
        priority: Priority::Low,
        labels: ["b/c", "a"].into_iter().map(id).collect(),
        files: vec!["../../etc/passwd".to_owned(), hostile.to_owned(), "-rf".to_owned()],
        project: Some(id("team/site")),
        model: Some(id("vendor/model-1.5")),
        dependencies: vec![id("first")],
        not_before: Some(t(500)),
        max_retries: 7,
        estimated_tokens: agentic_core::amount::Amount::MAX,
        idempotency_key: Some("key ' é".to_owned()),
        ..NewTask::new(id("A.b_c:d@e+f-1"), hostile)
    };
    let created = fx.create_all(vec![asked.clone()], t(3)).await.remove(0);
    let read = fx.task("A.b_c:d@e+f-1", t(3)).await;
    for task in [created, read] {
        let told = NewTask {
            id: task.id,
            title: task.title,
            description: task.description,
            priority: task.priority,
            labels: task.labels,
            files: task.files,
            project: task.project,
            model: task.model,
            dependencies: task.dependencies,
            not_before: task.not_before,
            max_retries: task.max_retries,
            estimated_tokens: task.estimated_tokens,
            idempotency_key: task.idempotency_key,
        };
        assert_eq!(told, asked);
        assert_eq!((task.created_at, task.updated_at), (t(3), t(3)));
    }
}

/// A fresh task is pending, without attempt, holder or anything that an attempt leaves.
pub async fn a_fresh_task_is_blank(fx: &Fixture) {
    fx.create(task("a")).await;
    let task = fx.task("a", t(0)).await;
    assert_eq!((task.status, task.priority, task.max_retries), (TaskStatus::Pending, Priority::Normal, 3));
    assert_eq!((task.attempt, task.retry_count, task.progress), (0, 0, 0));
    assert_eq!((task.claimed_by, task.claimed_at, task.lease_expires_at), (None, None, None));
    assert_eq!((task.retry_at, task.last_attempt, task.not_before), (None, None, None));
    assert_eq!((task.fail_reason, task.last_error, task.result, task.notes), (None, None, None, None));
    assert_eq!((task.estimated_tokens, task.idempotency_key), (n(0), None));
    assert!(task.blockers.is_empty() && task.blocked_by.is_empty() && task.labels.is_empty());
}

/// A call creates 1 to 1,000 tasks.
pub async fn a_batch_has_1_to_1000_tasks(fx: &Fixture) {
    let batch = |count: usize| create((0..count).map(|i| task(&format!("t{i}"))).collect(), t(0));
    invalid(fx.tasks.create_many(batch(0)).await, "tasks");
    invalid(fx.tasks.create_many(batch(MAX_BATCH + 1)).await, "tasks");
    assert_eq!(fx.tasks.create_many(batch(MAX_BATCH)).await.unwrap().len(), MAX_BATCH);
    assert_eq!(tasks_in(fx).await, MAX_BATCH);
}

/// No id and no key stands twice in one batch.
pub async fn a_batch_names_nothing_twice(fx: &Fixture) {
    invalid(fx.tasks.create_many(create(vec![task("a"), task("a")], t(0))).await, "id");
    let twice = create(vec![keyed("a", "k"), keyed("b", "k")], t(0));
    invalid(fx.tasks.create_many(twice).await, "idempotency_key");
    assert_eq!(tasks_in(fx).await, 0);
}

/// What breaks a bound is refused by name, and changes nothing.
pub async fn bounds_are_held(fx: &Fixture) {
    let many = |count: usize| (0..count).map(|i| format!("x{i}")).collect::<Vec<_>>();
    let text = "x".repeat(MAX_TEXT + 1);
    let bad: Vec<(&str, NewTask)> = vec![
        ("title", NewTask { title: String::new(), ..task("a") }),
        ("title", NewTask { title: "é".repeat(501), ..task("a") }),
        ("title", NewTask { title: "a\0b".to_owned(), ..task("a") }),
        ("description", NewTask { description: text, ..task("a") }),
        ("description", NewTask { description: "\0".to_owned(), ..task("a") }),
        ("labels", NewTask { labels: many(65).iter().map(|text| id(text)).collect(), ..task("a") }),
        ("files", NewTask { files: many(1_001), ..task("a") }),
        ("files", NewTask { files: vec![String::new()], ..task("a") }),
        ("files", NewTask { files: vec!["x".repeat(4_097)], ..task("a") }),
        (
            "dependencies",
            NewTask { dependencies: many(101).iter().map(|text| id(text)).collect(), ..task("a") },
        ),
        ("dependencies", after("a", &["b", "b"])),
        ("dependencies", after("a", &["a"])),
        ("max_retries", NewTask { max_retries: 1_001, ..task("a") }),
        ("idempotency_key", keyed("a", "")),
        ("idempotency_key", keyed("a", &"k".repeat(256))),
        ("idempotency_key", keyed("a", "a\nb")),
    ];
    for (field, task) in bad {
        invalid(fx.tasks.create_many(create(vec![task], t(0))).await, field);
    }
    assert_eq!(tasks_in(fx).await, 0);
    let edge = NewTask {
        title: "é".repeat(500),
        description: "x".repeat(MAX_TEXT),
        labels: many(64).iter().map(|text| id(text)).collect(),
        files: many(1_000),
        max_retries: 1_000,
        ..keyed("a", &"k".repeat(255))
    };
    fx.create(NewTask { title: "é".repeat(500), ..edge }).await;
}
