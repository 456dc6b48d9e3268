//! `/api/tasks`, `/api/lanes` and `/api/status`.

use agentic_core::{
    allowance::AgentAllowance,
    api::{ClaimTask, CompleteTask, CreateTask, PatchTask, ReleaseTask},
    error::{ConflictCode, Error, Kind},
    event::EventType,
    explain::Standing,
    task::{Page, Priority, Task, TaskFilter, TaskStatus},
};
use agentic_testkit::given::id;
use futures_util::TryStreamExt as _;
use serde_json::json;

use crate::world::World;

fn named(id: &str) -> CreateTask {
    CreateTask { id: id.to_owned(), ..CreateTask::new("x") }
}

fn claim() -> ClaimTask {
    ClaimTask { agent_id: id("a"), lease_secs: None }
}

#[tokio::test]
async fn a_tasks_life() {
    let world = World::start().await;
    let client = &world.client;
    let task = client.submit("write it", "well", [id("rust")], Priority::High).await.unwrap();
    assert_eq!(
        (task.title.as_str(), task.priority, task.status),
        ("write it", Priority::High, TaskStatus::Pending)
    );
    assert_eq!(client.get_task(&task.id).await.unwrap().pending_reason.unwrap().code, "queued");

    let claimed = client.claim_task(&task.id, &claim()).await.unwrap();
    assert_eq!((claimed.task.status, claimed.task.attempt), (TaskStatus::InProgress, 1));
    assert_eq!(claimed.message, format!("a has task {} until 2026-03-01T13:00:00.000Z", task.id));
    let update = PatchTask { progress: Some(40), notes: Some("so far".into()), ..PatchTask::default() };
    let updated = client.patch_task(&task.id, &update).await.unwrap();
    assert_eq!((updated.progress, updated.notes.as_deref()), (40, Some("so far")));

    let failed = CompleteTask { error_message: Some("no luck".into()), ..CompleteTask::default() };
    let answer = client.complete_task(&task.id, &failed).await.unwrap();
    assert_eq!((answer.task.status, answer.task.retry_count), (TaskStatus::Pending, 1));
    assert!(answer.message.contains("is tried again from 2026-03-01T12:00:05"), "{}", answer.message);
    let error = client.claim_task(&task.id, &claim()).await.unwrap_err();
    assert!(error.is_conflict(ConflictCode::NotReady), "{error}");

    world.clock.advance(std::time::Duration::from_secs(6));
    client.claim_task(&task.id, &claim()).await.unwrap();
    let release = ReleaseTask { reason: "lunch".into(), attempt: Some(2), ..ReleaseTask::default() };
    let answer = client.release_task(&task.id, &release).await.unwrap();
    assert_eq!((answer.task.status, answer.task.retry_count), (TaskStatus::Pending, 1));

    client.claim_task(&task.id, &claim()).await.unwrap();
    let done =
        CompleteTask { success: true, output: "done".into(), attempt: Some(3), ..CompleteTask::default() };
    let answer = client.complete_task(&task.id, &done).await.unwrap();
    assert_eq!(answer.message, format!("task {} is completed", task.id));
    assert_eq!(answer.task.result.unwrap().output, "done");
    let stale = CompleteTask { attempt: Some(1), ..done };
    let error = client.complete_task(&task.id, &stale).await.unwrap_err();
    assert!(error.is_conflict(ConflictCode::StaleAttempt), "{error}");

    let kinds: Vec<EventType> =
        client.history(&task.id, 0, 100).await.unwrap().into_iter().map(|event| event.kind).collect();
    assert_eq!((kinds[0], kinds.contains(&EventType::TaskCompleted)), (EventType::TaskCreated, true));
}

#[tokio::test]
async fn a_task_is_called_off_put_back_and_given_up() {
    let world = World::start().await;
    let client = &world.client;
    client.create_task(&named("t")).await.unwrap();
    let cancelled = client.cancel_task(&id("t"), "not needed").await.unwrap();
    assert_eq!(cancelled.task.status, TaskStatus::Cancelled);
    assert!(client.cancel_task(&id("t"), "").await.unwrap_err().is_conflict(ConflictCode::IllegalTransition));
    assert_eq!(client.requeue_task(&id("t")).await.unwrap().task.status, TaskStatus::Pending);
    assert_eq!(world.call("POST", "/api/tasks/t/cancel", "").await.status, 200, "a reason may be left out");
    client.requeue_task(&id("t")).await.unwrap();
    let give_up = PatchTask { status: Some(TaskStatus::Failed), ..PatchTask::default() };
    assert_eq!(client.patch_task(&id("t"), &give_up).await.unwrap().status, TaskStatus::Failed);
}

#[tokio::test]
async fn a_patch_edits_or_updates() {
    let world = World::start().await;
    let client = &world.client;
    client.create_task(&named("t")).await.unwrap();
    let edit = PatchTask { priority: Some(Priority::Low), ..PatchTask::default() };
    assert_eq!(client.patch_task(&id("t"), &edit).await.unwrap().priority, Priority::Low);
    for status in ["blocked", "pending"] {
        let reply = world.call("PATCH", "/api/tasks/t", &json!({ "status": status }).to_string()).await;
        assert_eq!(reply.json()["status"], status);
    }
    for (status, endpoint) in [("completed", "/complete"), ("cancelled", "/cancel")] {
        let reply = world.call("PATCH", "/api/tasks/t", &json!({ "status": status }).to_string()).await;
        let problem = reply.problem(422, "invalid");
        assert!(problem["detail"].as_str().unwrap().contains(endpoint), "{problem}");
    }
    let reply = world.call("PATCH", "/api/tasks/t", r#"{"progress": 1, "priority": "low"}"#).await;
    assert_eq!(reply.problem(422, "invalid")["field"], "request");
}

#[tokio::test]
async fn one_in_one_out_many_in_many_out() {
    let world = World::start().await;
    let reply = world.call("POST", "/api/tasks", r#"{"id": "t", "title": "x"}"#).await;
    assert_eq!(
        (reply.status, &reply.json()["id"], reply.header("location")),
        (201, &"t".into(), "/api/tasks/t")
    );
    let reply = world.call("POST", "/api/tasks", r#" [{"title": "x"}]"#).await;
    assert_eq!((reply.status, reply.json().as_array().unwrap().len()), (201, 1));
    let batch = [CreateTask { dependencies: vec![id("b")], ..named("a") }, named("b")];
    let created = world.client.create_tasks(&batch, None).await.unwrap();
    assert_eq!((created[0].status, created[1].id.as_str()), (TaskStatus::Blocked, "b"));
    let none = world.client.create_tasks(&[named("c"), named("a")], None).await.unwrap_err();
    assert!(none.is_conflict(ConflictCode::Exists), "{none}");
    assert_eq!(world.client.get_task(&id("c")).await, Err(Error::not_found(Kind::Task, "c")));
    assert_eq!(world.call("POST", "/api/tasks", "[]").await.status, 422);
}

#[tokio::test]
async fn a_go_client_works() {
    let world = World::start().await;
    let body = r#"{"id":"","title":"x","status":"pending","priority":"medium","created_at":"0001-01-01T00:00:00Z",
        "updated_at":"0001-01-01T00:00:00Z"}"#;
    let reply = world.call("POST", "/api/tasks", body).await;
    assert_eq!((reply.status, &reply.json()["priority"]), (201, &"normal".into()));
    let task = reply.json()["id"].as_str().unwrap().to_owned();
    let path = |act: &str| format!("/api/tasks/{task}{act}");
    assert_eq!(world.call("POST", &path("/claim"), r#"{"agent_id":"a"}"#).await.json()["task"]["attempt"], 1);
    assert_eq!(world.call("PATCH", &path(""), r#"{"status":"in_progress","progress":5}"#).await.status, 200);
    let reply =
        world.call("POST", &path("/complete"), r#"{"success":true,"output":"o","artifacts":[]}"#).await;
    assert_eq!(reply.json()["task"]["status"], "completed");
}

#[tokio::test]
async fn a_key_creates_once() {
    let world = World::start().await;
    let keyed = |body: &'static str| {
        let request = world.request("POST", "/api/tasks").header("idempotency-key", "k");
        world.send(request.header("content-type", "application/json").body(body).unwrap())
    };
    let first = keyed(r#"{"title": "x"}"#).await;
    let again = keyed(r#"{"title": "x"}"#).await;
    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!(first.json()["id"], again.json()["id"]);
    keyed(r#"{"title": "y"}"#).await.problem(422, "idempotency_mismatch");
    let batch = [CreateTask::new("a"), CreateTask::new("b")];
    let ids = |tasks: Vec<Task>| tasks.into_iter().map(|task| task.id).collect::<Vec<_>>();
    let first = ids(world.client.create_tasks(&batch, Some("batch")).await.unwrap());
    assert_eq!(ids(world.client.create_tasks(&batch, Some("batch")).await.unwrap()), first);
    assert_eq!(
        world.client.list_tasks(&TaskFilter::default(), &Page::first(10)).await.unwrap().tasks.len(),
        3
    );

    let request = world.request("POST", "/api/tasks").header("idempotency-key", &b"\xff"[..]);
    let reply =
        world.send(request.header("content-type", "application/json").body(r#"{"title":"x"}"#).unwrap());
    assert_eq!(reply.await.problem(422, "invalid")["field"], "idempotency_key");
}

#[tokio::test]
async fn pages_link_to_the_next() {
    let world = World::start().await;
    let labelled = |i: usize| CreateTask { labels: [id("a+b"), id("c")].into(), ..named(&format!("t{i}")) };
    let batch: Vec<CreateTask> = (0..5).map(labelled).collect();
    world.client.create_tasks(&batch, None).await.unwrap();
    world.client.create_task(&named("other")).await.unwrap();

    let reply = world.call("GET", "/api/tasks?labels=a%2Bb,c&limit=2", "").await;
    let link = reply.header("link").to_owned();
    assert!(link.starts_with("</api/tasks?labels=a%2Bb%2Cc&limit=2&cursor="), "{link}");
    assert!(link.ends_with(r#">; rel="next""#), "{link}");
    let next = link.trim_start_matches('<').split('>').next().unwrap();
    let reply = world.call("GET", next, "").await;
    let ids: Vec<_> = reply.json().as_array().unwrap().iter().map(|task| task["id"].clone()).collect();
    assert_eq!(ids, ["t2", "t3"]);

    let filter = TaskFilter { labels: [id("a+b")].into(), ..TaskFilter::default() };
    let mut page = Page::first(2);
    let mut sizes = Vec::new();
    loop {
        let read = world.client.list_tasks(&filter, &page).await.unwrap();
        sizes.push(read.tasks.len());
        let Some(cursor) = read.next else { break };
        page.cursor = Some(cursor);
    }
    assert_eq!(sizes, [2, 2, 1]);
    let exact = world.client.list_tasks(&filter, &Page::first(5)).await.unwrap();
    assert_eq!((exact.tasks.len(), exact.next), (5, None), "a full page that is the last has no next");
    let all: Vec<Task> = world.client.all_tasks(&TaskFilter::default()).try_collect().await.unwrap();
    assert_eq!(all.len(), 6);
}

#[tokio::test]
async fn a_list_is_filtered() {
    let world = World::start().await;
    let client = &world.client;
    client
        .create_task(&CreateTask { project: Some(id("p/q")), priority: Priority::Low, ..named("t") })
        .await
        .unwrap();
    client.create_task(&named("u")).await.unwrap();
    client.claim_task(&id("u"), &claim()).await.unwrap();
    for (query, ids) in [
        ("", vec!["t", "u"]),
        ("?status=pending", vec!["t"]),
        ("?priority=low", vec!["t"]),
        ("?priority=medium", vec!["u"]),
        ("?project=p/q", vec!["t"]),
        ("?claimed_by=a", vec!["u"]),
        ("?status=&labels=", vec!["t", "u"]),
        ("?status=failed", vec![]),
    ] {
        let reply = world.call("GET", &format!("/api/tasks{query}"), "").await;
        let found = reply.json();
        let found: Vec<_> =
            found.as_array().unwrap().iter().map(|task| task["id"].as_str().unwrap()).collect();
        assert_eq!(found, ids, "{query}");
    }
}

#[tokio::test]
async fn a_history_comes_in_pages() {
    let world = World::start().await;
    world.client.create_task(&named("t")).await.unwrap();
    world.client.cancel_task(&id("t"), "").await.unwrap();
    world.client.requeue_task(&id("t")).await.unwrap();
    let reply = world.call("GET", "/api/tasks/t/history?limit=2", "").await;
    let last = reply.json()[1]["id"].as_u64().unwrap();
    let next = format!(r#"</api/tasks/t/history?limit=2&after={last}>; rel="next""#);
    assert_eq!(reply.header("link"), next);
    let reply = world.call("GET", &format!("/api/tasks/t/history?after={last}"), "").await;
    assert_eq!((&reply.json()[0]["type"], reply.header("link")), (&"task_requeued".into(), ""));
}

#[tokio::test]
async fn a_waiting_task_is_explained() {
    let world = World::start().await;
    let client = &world.client;
    client.create_task(&CreateTask { labels: [id("gpu")].into(), ..named("t") }).await.unwrap();
    client.register_agent(&agentic_core::agent::AgentSpec::new(id("a")).into()).await.unwrap();
    let explanation = client.explain(&id("t"), 5).await.unwrap();
    assert_eq!((&explanation.task.id, explanation.because[0].code.as_str()), (&id("t"), "queued"));
    let prospects = explanation.prospects.unwrap();
    assert_eq!((prospects.choice, prospects.agents[0].reason.as_deref()), (None, Some("lacks gpu")));
    let lane = client.explain_lane(&"gpu||".parse().unwrap(), 0).await.unwrap();
    assert_eq!((lane.head, lane.prospects.others[&Standing::Labels]), (Some(id("t")), 1));
    let reply = world.call("GET", "/api/lanes/explain", "").await;
    assert_eq!(reply.problem(422, "invalid")["field"], "lane");
    let reply = world.call("GET", "/api/tasks/t/explain?agents=1001", "").await;
    assert_eq!(reply.problem(422, "invalid")["field"], "agents");
}

#[tokio::test]
async fn a_dry_run_answers_as_creating_would_and_creates_nothing() {
    let world = World::start().await;
    let client = &world.client;
    client.register_agent(&agentic_core::agent::AgentSpec::new(id("a")).into()).await.unwrap();
    let limited = AgentAllowance { daily_token_limit: 9u32.into(), ..AgentAllowance::unlimited(id("a")) };
    client.set_allowance(&limited).await.unwrap();
    let reply =
        world.call("POST", "/api/tasks?dry_run=true", r#"{"title": "x", "estimated_tokens": 5}"#).await;
    assert_eq!((reply.status, &reply.json()["task"]["status"]), (200, &"pending".into()));
    assert_eq!(reply.json()["prospects"]["choice"], "a");
    assert_eq!(reply.json()["prospects"]["agents"][0]["limits"][0]["asked"], 5);
    let after = CreateTask { dependencies: vec![id("first")], ..named("second") };
    let answers = client.dry_run(&[named("first"), after.clone()], 1).await.unwrap();
    let statuses: Vec<_> = answers.iter().map(|answer| answer.task.status).collect();
    assert_eq!(statuses, [TaskStatus::Pending, TaskStatus::Blocked]);
    let missing = client.dry_run(&[after], 1).await.unwrap_err();
    assert!(matches!(missing, Error::Invalid { field, .. } if field == "dependencies"));
    assert_eq!(client.status().await.unwrap().tasks, [].into());
    let reply = world.call("POST", "/api/tasks?dry_run=maybe", r#"{"title": "x"}"#).await;
    assert_eq!(reply.problem(422, "invalid")["field"], "dry_run");
    client.create_task(&named("first")).await.unwrap();
    let there = client.dry_run(&[named("first")], 1).await.unwrap_err();
    assert!(there.is_conflict(ConflictCode::Exists), "{there}");
}

#[tokio::test]
async fn the_overview() {
    let world = World::start().await;
    let client = &world.client;
    for label in ["x", "y", "z"] {
        client.create_task(&CreateTask { labels: [id(label)].into(), ..named(label) }).await.unwrap();
    }
    let lanes = client.lanes().await.unwrap();
    assert_eq!(lanes.iter().map(|lane| lane.head.to_string()).collect::<Vec<_>>(), ["x", "y", "z"]);
    let reply = world.call("GET", "/api/lanes?limit=2", "").await;
    assert_eq!(reply.header("link"), r#"</api/lanes?limit=2&cursor=2>; rel="next""#);
    let reply = world.call("GET", "/api/lanes?limit=2&cursor=2", "").await;
    assert_eq!((&reply.json()[0]["head"], reply.header("link")), (&"z".into(), ""));
    assert_eq!(world.call("GET", "/api/lanes?limit=3", "").await.header("link"), "", "there are no more");
    let status = client.status().await.unwrap();
    assert_eq!(status.tasks[&TaskStatus::Pending], 3);
}
