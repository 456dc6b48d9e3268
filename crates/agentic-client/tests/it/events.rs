//! Streams of events: resumed, bounded, and ended by what cannot be mended.

use agentic_core::error::ConflictCode;
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde_json::json;

use crate::server::{Reply, Server};

/// An event as the server sends it.
pub(crate) fn sent(id: u64, kind: &str) -> String {
    let event = json!({ "id": id, "type": kind, "task_id": "t", "timestamp": "2026-01-01T00:00:00Z" });
    format!(": alive\n\nid: {id}\nevent: {kind}\ndata: {event}\n\n")
}

fn stream(body: impl Into<String>, close: bool) -> Reply {
    Reply::Stream { body: body.into(), close }
}

#[tokio::test]
async fn a_broken_stream_is_resumed_behind_the_last_event() {
    let server = Server::start(|n, _| match n {
        0 => stream(sent(7, "task_created") + &sent(8, "task_claimed"), true),
        1 => Reply::Cut,
        2 => Reply::problem(503, "unavailable"),
        // Half an event is none.
        3 => stream(&sent(9, "task_completed")[..40], true),
        _ => stream(sent(9, "task_completed"), false),
    })
    .await;
    let task = "t".parse().unwrap();
    let events = server.client().events(None, Some(&task)).take(3);
    let ids: Vec<u64> = events.map_ok(|event| event.id).try_collect().await.unwrap();
    assert_eq!(ids, [7, 8, 9]);
    let seen = server.seen();
    assert_eq!(seen[0].line, "GET /api/events?task=t");
    assert!(!seen[0].headers.contains_key("last-event-id"));
    assert_eq!(seen.len(), 5);
    for resumed in &seen[1..] {
        assert_eq!(resumed.headers["last-event-id"], "8");
    }
}

#[tokio::test]
async fn a_trimmed_cursor_is_told() {
    let server = Server::start(|_, _| Reply::problem(410, "cursor_trimmed")).await;
    let mut events = server.client().events(Some(5), None);
    let error = events.next().await.unwrap().unwrap_err();
    assert!(error.is_conflict(ConflictCode::CursorTrimmed), "{error}");
    assert!(events.next().await.is_none(), "an error ends the stream");
    assert_eq!(server.seen().len(), 1);
    assert_eq!(server.seen()[0].headers["last-event-id"], "5");
}

#[tokio::test]
async fn connections_that_bring_nothing_are_given_up() {
    let server = Server::start(|_, _| stream(": alive\n\n", true)).await;
    let error = server.client().events(None, None).next().await.unwrap().unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert_eq!(server.seen().len(), 1 + 10);
}

#[tokio::test]
async fn a_page_of_something_else_is_no_stream() {
    let server = Server::start(|_, _| Reply::json(200, &json!({}))).await;
    let error = server.client().events(None, None).next().await.unwrap().unwrap_err();
    assert_eq!((error.code(), server.seen().len()), ("backend", 1));
}
