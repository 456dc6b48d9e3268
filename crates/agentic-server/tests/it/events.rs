//! Server-sent events.

use std::time::Duration;

use agentic_core::{
    api::CreateTask,
    clock::Timestamp,
    error::ConflictCode,
    event::{Event, EventType},
    id::TaskId,
};
use agentic_testkit::given::id;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use http_body_util::BodyExt as _;

use crate::world::World;

const SOON: Duration = Duration::from_secs(20);

async fn create(world: &World, task: &str) {
    let create = CreateTask { id: task.to_owned(), ..CreateTask::new("x") };
    world.client.create_task(&create).await.unwrap();
}

async fn take(stream: impl Stream<Item = agentic_core::error::Result<Event>>, count: usize) -> Vec<Event> {
    let taken = stream.take(count).try_collect();
    tokio::time::timeout(SOON, taken).await.expect("events come").unwrap()
}

fn tasks(events: &[Event]) -> Vec<&str> {
    events.iter().filter_map(|event| event.task_id.as_ref().map(TaskId::as_str)).collect()
}

#[tokio::test]
async fn a_stream_tells_what_was_and_what_comes() {
    let world = World::start().await;
    create(&world, "t1").await;
    let mut stream = world.client.events(Some(0), None);
    assert_eq!(tasks(&take(&mut stream, 1).await), ["t1"]);
    create(&world, "t2").await;
    let events = take(&mut stream, 1).await;
    assert_eq!((tasks(&events), events[0].kind), (vec!["t2"], EventType::TaskCreated));
}

#[tokio::test]
async fn a_stream_resumes_behind_its_last_event() {
    let world = World::start().await;
    for task in ["t1", "t2", "t3"] {
        create(&world, task).await;
    }
    let first = take(world.client.events(Some(0), None), 2).await;
    let rest = take(world.client.events(Some(first[1].id), None), 1).await;
    assert_eq!((tasks(&first), tasks(&rest)), (vec!["t1", "t2"], vec!["t3"]));
}

#[tokio::test]
async fn without_a_cursor_a_stream_begins_now() {
    let world = World::start().await;
    create(&world, "old").await;
    let response = world.open(world.request("GET", "/api/events").body("").unwrap()).await.unwrap();
    create(&world, "new").await;
    let frame = frame(response).await;
    assert!(frame.contains(r#""task_id":"new""#), "{frame}");
}

/// The first frame of a stream.
async fn frame(response: hyper::Response<hyper::body::Incoming>) -> String {
    let mut body = response.into_body();
    let frame = tokio::time::timeout(SOON, body.frame()).await.expect("a frame comes").unwrap().unwrap();
    String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()
}

#[tokio::test]
async fn a_frame_has_id_type_and_json_and_the_header_wins() {
    let world = World::start().await;
    create(&world, "t1").await;
    create(&world, "t2").await;
    let request = world.request("GET", "/api/events?after=0").header("last-event-id", "1").body("").unwrap();
    let response = world.open(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let frame = frame(response).await;
    let lines: Vec<&str> = frame.lines().collect();
    assert_eq!((lines.len(), lines[0], lines[1]), (4, "id: 2", "event: task_created"), "{frame}");
    let event: Event = serde_json::from_str(lines[2].strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!((event.id, event.task_id), (2, Some(id("t2"))));
}

#[tokio::test]
async fn a_stream_of_one_task_tells_of_no_other() {
    let world = World::start().await;
    for task in ["t1", "t2"] {
        create(&world, task).await;
    }
    world.client.cancel_task(&id("t2"), "").await.unwrap();
    let events = take(world.client.events(Some(0), Some(&id("t2"))), 2).await;
    assert_eq!(tasks(&events), ["t2", "t2"]);
    assert_eq!(events[1].kind, EventType::TaskCancelled);
}

#[tokio::test]
async fn a_trimmed_cursor_is_gone() {
    let world = World::start().await;
    for task in ["t1", "t2", "t3"] {
        create(&world, task).await;
    }
    assert_eq!(world.fleet.ports().events.trim(Timestamp::MAX, 2).await.unwrap(), 2);
    let error = take_error(&world, 0).await;
    assert!(error.is_conflict(ConflictCode::CursorTrimmed), "{error}");
    world.call("GET", "/api/events?after=1", "").await.problem(410, "cursor_trimmed");
    assert_eq!(tasks(&take(world.client.events(Some(2), None), 1).await), ["t3"]);
}

async fn take_error(world: &World, after: u64) -> agentic_core::error::Error {
    let first = tokio::time::timeout(SOON, world.client.events(Some(after), None).next()).await;
    first.expect("an answer comes").unwrap().unwrap_err()
}

#[tokio::test]
async fn a_cursor_of_another_log_is_gone() {
    let world = World::start().await;
    create(&world, "t1").await;
    let error = take_error(&world, 99).await;
    assert!(error.is_conflict(ConflictCode::CursorTrimmed), "{error}");
}

#[tokio::test]
async fn what_is_no_cursor_is_refused() {
    let world = World::start().await;
    let request = world.request("GET", "/api/events").header("last-event-id", "x").body("").unwrap();
    assert_eq!(world.send(request).await.problem(422, "invalid")["field"], "last-event-id");
    let reply = world.call("GET", "/api/events?after=-1", "").await;
    assert_eq!(reply.problem(422, "invalid")["field"], "after");
    let reply = world.call("GET", "/api/events?task=..", "").await;
    assert_eq!(reply.problem(422, "invalid")["field"], "task");
}

#[tokio::test]
async fn the_log_of_a_task_ends_with_the_task() {
    let world = World::start().await;
    create(&world, "t1").await;
    let mut out = Vec::new();
    let cancel = async {
        world.client.cancel_task(&id("t1"), "enough").await.unwrap();
    };
    let id = id("t1");
    let logs = tokio::time::timeout(SOON, world.client.stream_logs(&id, &mut out));
    let (task, ()) = tokio::join!(logs, cancel);
    assert!(task.expect("the log ends").unwrap().status.is_final());
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains("task_created") && text.lines().last().unwrap().contains("enough"), "{text}");
}
