//! Calls: their errors, their repetitions, their bounds.

use std::time::Duration;

use agentic_client::Client;
use agentic_core::{
    allowance::AgentAllowance,
    api::{CompleteTask, CreateTask, HeartbeatBody},
    error::{ConflictCode, Error, Kind},
    id::{AgentId, TaskId},
    task::{Page, Priority, Task, TaskFilter, TaskStatus},
};
use futures_util::TryStreamExt as _;
use serde_json::{Value, json};

use crate::server::{Reply, Server};

pub(crate) fn task(id: &str) -> Value {
    json!({ "id": id, "title": "x", "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z" })
}

fn id() -> TaskId {
    "t".parse().unwrap()
}

fn agent() -> AgentId {
    "a".parse().unwrap()
}

#[tokio::test]
async fn the_token_is_shown_to_the_server() {
    let server = Server::start(|_, _| Reply::json(200, &task("t"))).await;
    server.client().get_task(&id()).await.unwrap();
    let seen = &server.seen()[0];
    assert_eq!(seen.line, "GET /api/tasks/t");
    assert_eq!(seen.headers["authorization"], "Bearer s3cret");
    assert!(seen.headers["user-agent"].starts_with("agentic/"));
}

#[tokio::test]
async fn names_stand_in_paths_as_one_segment() {
    let server = Server::start(|_, _| Reply::json(200, &json!({ "model": "v/m:1" }))).await;
    let client = Client::builder(format!("{}/behind/", server.url)).build().unwrap();
    client.model(&"v/m:1".parse().unwrap()).await.unwrap();
    assert_eq!(server.lines(), ["GET /behind/api/models/v%2Fm:1"]);
}

#[tokio::test]
async fn a_problem_is_an_error_of_the_ports() {
    let problem = json!({
        "title": "Conflict", "status": 409, "code": "already_claimed", "detail": "taken", "holder": "b",
    });
    let server = Server::start(move |n, _| match n {
        0 => Reply::json(409, &problem),
        1 => Reply::json(
            404,
            &json!({"title": "x", "status": 404, "code": "not_found", "detail": "d", "kind": "task", "id": "t"}),
        ),
        2 => Reply::problem(422, "invalid"),
        3 => Reply::problem(401, "unauthorized"),
        _ => Reply::problem(500, "backend"),
    })
    .await;
    let client = server.client();
    let taken = Error::Conflict {
        code: ConflictCode::AlreadyClaimed,
        detail: "taken".into(),
        holder: Some("b".parse().unwrap()),
    };
    assert_eq!(client.requeue_task(&id()).await.unwrap_err(), taken);
    assert_eq!(client.get_task(&id()).await.unwrap_err(), Error::not_found(Kind::Task, "t"));
    assert_eq!(client.get_task(&id()).await.unwrap_err(), Error::invalid("request", "d"));
    assert_eq!(client.get_task(&id()).await.unwrap_err(), Error::invalid("unauthorized", "d"));
    assert_eq!(client.get_task(&id()).await.unwrap_err().code(), "backend");
    assert_eq!(server.seen().len(), 5, "none was repeated");
}

#[tokio::test]
async fn strangers_answers_are_errors_too() {
    let server = Server::start(|n, _| Reply::Full {
        status: [404, 418, 500, 200][n],
        headers: vec![],
        body: "<html>".into(),
    })
    .await;
    let client = server.client();
    let mut codes = Vec::new();
    for _ in 0..4 {
        codes.push(client.get_task(&id()).await.unwrap_err().code());
    }
    assert_eq!(codes, ["not_found", "invalid", "backend", "backend"]);
}

#[tokio::test]
async fn what_can_be_repeated_is_until_it_succeeds() {
    let server = Server::start(|n, _| match n {
        0 => Reply::Cut,
        1 => Reply::problem(503, "unavailable"),
        2 => Reply::Full { status: 502, headers: vec![], body: String::new() },
        _ => Reply::json(200, &task("t")),
    })
    .await;
    server.client().get_task(&id()).await.unwrap();
    assert_eq!(server.seen().len(), 4);
}

#[tokio::test]
async fn repetitions_are_bounded() {
    let server = Server::start(|_, _| Reply::problem(503, "unavailable")).await;
    let client = server.client();
    assert!(client.get_task(&id()).await.unwrap_err().is_retryable());
    assert_eq!(server.seen().len(), 1 + 3);
    let patient =
        Client::builder(&server.url).retries(5).retry_pause(Duration::from_millis(1)).build().unwrap();
    assert!(patient.set_allowance(&AgentAllowance::unlimited(agent())).await.is_err());
    assert_eq!(server.seen().len(), 4 + 1 + 5);
}

#[tokio::test]
async fn only_what_is_harmless_is_repeated() {
    let server = Server::start(|_, _| Reply::Cut).await;
    let client = server.client();
    let calls = || server.seen().len();

    let mut create = CreateTask::new("x");
    client.create_task(&create).await.unwrap_err();
    client.create_tasks(&[create.clone()], None).await.unwrap_err();
    client.complete_task(&id(), &CompleteTask::default()).await.unwrap_err();
    client.cancel_task(&id(), "why").await.unwrap_err();
    client.deregister_agent(&agent()).await.unwrap_err();
    assert_eq!(calls(), 5, "each once");

    create.idempotency_key = Some("k".into());
    client.create_task(&create).await.unwrap_err();
    client.create_tasks(&[CreateTask::new("x")], Some("k")).await.unwrap_err();
    let fenced = CompleteTask { attempt: Some(1), ..CompleteTask::default() };
    client.complete_task(&id(), &fenced).await.unwrap_err();
    client.heartbeat(&agent(), &HeartbeatBody::default()).await.unwrap_err();
    assert_eq!(calls(), 5 + 4 * 4);
    assert_eq!(server.seen()[9].headers["idempotency-key"], "k");
}

#[tokio::test]
async fn a_refusal_by_a_limit_is_not_repeated() {
    let server = Server::start(|_, _| Reply::problem(429, "refused_by_limit")).await;
    server.client().get_task(&id()).await.unwrap_err();
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_silent_server_is_unavailable_in_time() {
    let server = Server::start(|_, _| Reply::Silence).await;
    let client = Client::builder(&server.url).timeout(Duration::from_secs(1)).build().unwrap();
    let error = client.get_task(&id()).await.unwrap_err();
    assert_eq!(error, Error::unavailable(format!("the server at {}/", server.url)));
    assert_eq!(server.seen().len(), 1, "the time covers repetitions");
    let started = tokio::time::Instant::now();
    client.assignments(&agent(), 2, Duration::from_millis(1)).await.unwrap_err();
    assert!(started.elapsed() >= Duration::from_secs(1), "a long poll has its wait on top");
    assert_eq!(server.lines()[1], "GET /api/agents/a/assignments?incarnation=2&wait=1");
}

#[tokio::test]
async fn nobody_listens() {
    let server = Server::start(|_, _| Reply::Cut).await;
    let (url, client) = (server.url.clone(), server.client());
    drop(server);
    let error = client.health().await.unwrap_err();
    assert_eq!(error.to_string(), format!("the server at {url}/ is unavailable"));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Server::start(|_, _| Reply::json(200, &task("t"))).await;
    let to = format!("{}/api/tasks/t", elsewhere.url);
    let server = Server::start(move |_, _| Reply::json(307, &json!({})).header("location", to.clone())).await;
    let error = server.client().get_task(&id()).await.unwrap_err();
    assert!(matches!(&error, Error::Invalid { field, .. } if field == "base_url"), "{error}");
    assert!(error.to_string().contains(&elsewhere.url), "{error}");
    assert!(elsewhere.seen().is_empty(), "the token stays");
}

#[tokio::test]
async fn filters_and_pages_stand_in_the_query() {
    let link = r#"</api/tasks?cursor=5%2Ft2&limit=2>; rel="next""#;
    let server = Server::start(move |n, _| match n {
        0 => Reply::json(200, &json!([task("t1"), task("t2")])).header("link", link),
        _ => Reply::json(200, &json!([])),
    })
    .await;
    let filter = TaskFilter {
        status: Some(TaskStatus::Pending),
        labels: ["a", "b/c"].map(|label| label.parse().unwrap()).into(),
        priority: Some(Priority::High),
        project: Some("p".parse().unwrap()),
        claimed_by: Some(agent()),
    };
    let client = server.client();
    let page = client.list_tasks(&filter, &Page::first(2)).await.unwrap();
    assert_eq!(page.tasks.len(), 2);
    let page =
        client.list_tasks(&TaskFilter::default(), &Page { limit: 2, cursor: page.next }).await.unwrap();
    assert_eq!(page.next, None);
    assert_eq!(
        server.lines(),
        [
            "GET /api/tasks?status=pending&labels=a%2Cb%2Fc&priority=high&project=p&claimed_by=a&limit=2",
            "GET /api/tasks?limit=2&cursor=5%2Ft2",
        ]
    );
}

#[tokio::test]
async fn lists_are_read_to_their_end() {
    let server = Server::start(|n, seen| match n {
        0 | 2 => {
            Reply::json(200, &json!([{ "model": "m1" }])).header("link", "</api/models?cursor=m1>; rel=next")
        }
        1 => Reply::json(200, &json!([{ "model": "m2" }])),
        _ => panic!("{seen:?}"),
    })
    .await;
    let models = server.client().models().await.unwrap();
    assert_eq!(models.iter().map(|quota| quota.model.as_str()).collect::<Vec<_>>(), ["m1", "m2"]);
    assert_eq!(server.lines(), ["GET /api/models", "GET /api/models?cursor=m1"]);
    assert_eq!(server.seen()[1].headers["authorization"], "Bearer s3cret");
}

#[tokio::test]
async fn all_tasks_come_page_by_page() {
    let link = r#"<?cursor=5%2Ft1>; rel="next""#;
    let server = Server::start(move |n, _| match n {
        0 => Reply::json(200, &json!([task("t1")])).header("link", link),
        1 => Reply::json(200, &json!([task("t2")])),
        _ => Reply::Cut,
    })
    .await;
    let tasks: Vec<Task> = server.client().all_tasks(&TaskFilter::default()).try_collect().await.unwrap();
    assert_eq!(tasks.iter().map(|task| task.id.as_str()).collect::<Vec<_>>(), ["t1", "t2"]);
    assert_eq!(server.lines()[1], "GET /api/tasks?limit=100&cursor=5%2Ft1");
}

#[tokio::test]
async fn a_list_without_end_is_given_up() {
    let server =
        Server::start(|_, _| Reply::json(200, &json!([])).header("link", "</api/models>; rel=next")).await;
    assert_eq!(server.client().models().await.unwrap_err().code(), "backend");
    assert_eq!(server.seen().len(), 1_000);
}

#[tokio::test]
async fn submit_sends_what_it_is_given() {
    let server = Server::start(|_, _| Reply::json(201, &task("t"))).await;
    let labels = ["a".parse().unwrap()];
    server.client().submit("x", "y", labels, Priority::Critical).await.unwrap();
    let body: Value = serde_json::from_str(&server.seen()[0].body).unwrap();
    assert_eq!((&body["title"], &body["description"]), (&json!("x"), &json!("y")));
    assert_eq!((&body["labels"], &body["priority"]), (&json!(["a"]), &json!("critical")));
}
