//! The log of one task.

use std::sync::atomic::{AtomicBool, Ordering};

use agentic_core::{
    error::{Error, Kind},
    id::TaskId,
    task::TaskStatus,
};
use serde_json::{Value, json};

use crate::{
    calls::task,
    events::sent,
    server::{Reply, Server},
};

fn event(id: u64, kind: &str) -> Value {
    json!({ "id": id, "type": kind, "task_id": "t", "timestamp": "2026-01-01T00:00:00Z" })
}

fn in_status(status: &str) -> Reply {
    let mut task = task("t");
    task["status"] = json!(status);
    Reply::json(200, &task)
}

/// The log that a server's answers make, as the types of its events, and the task at its end.
async fn log(server: &Server) -> (Vec<String>, Result<TaskStatus, Error>) {
    let mut out = Vec::new();
    let id: TaskId = "t".parse().unwrap();
    let end = server.client().stream_logs(&id, &mut out).await.map(|task| task.status);
    let lines = String::from_utf8(out).unwrap();
    (lines.lines().map(|line| line.split_whitespace().nth(1).unwrap().to_owned()).collect(), end)
}

#[tokio::test]
async fn each_change_is_written_once_until_the_task_is_over() {
    let over = AtomicBool::new(false);
    let server = Server::start(move |_, seen| match seen.line.as_str() {
        "GET /api/tasks/t/history?after=0&limit=100" => {
            Reply::json(200, &json!([event(1, "task_created"), event(3, "task_claimed")]))
        }
        "GET /api/events?task=t" if seen.headers["last-event-id"] == "3" => {
            over.store(true, Ordering::SeqCst);
            Reply::Stream { body: sent(5, "task_updated") + &sent(8, "task_completed"), close: false }
        }
        // What the same step appended behind the completion.
        "GET /api/tasks/t/history?after=8&limit=100" => {
            Reply::json(200, &json!([event(9, "usage_recorded")]))
        }
        "GET /api/tasks/t" if over.load(Ordering::SeqCst) => in_status("completed"),
        "GET /api/tasks/t" => in_status("in_progress"),
        _ => Reply::json(200, &json!([])),
    })
    .await;
    let (kinds, end) = log(&server).await;
    assert_eq!(kinds, ["task_created", "task_claimed", "task_updated", "task_completed", "usage_recorded"]);
    assert_eq!(end, Ok(TaskStatus::Completed));
}

#[tokio::test]
async fn a_task_that_ends_between_two_looks_is_told_whole() {
    let looked = AtomicBool::new(false);
    let server = Server::start(move |_, seen| match seen.line.as_str() {
        "GET /api/tasks/t" => {
            looked.store(true, Ordering::SeqCst);
            in_status("cancelled")
        }
        line if line.contains("after=0") && looked.load(Ordering::SeqCst) => {
            Reply::json(200, &json!([event(1, "task_created"), event(2, "task_cancelled")]))
        }
        _ => Reply::json(200, &json!([])),
    })
    .await;
    let (kinds, end) = log(&server).await;
    assert_eq!(
        (kinds, end),
        (vec!["task_created".into(), "task_cancelled".into()], Ok(TaskStatus::Cancelled))
    );
}

#[tokio::test]
async fn a_requeued_task_goes_on() {
    let server = Server::start(|_, seen| match seen.line.as_str() {
        line if line.contains("after=0") => {
            let before = [event(1, "task_created"), event(2, "task_cancelled"), event(3, "task_requeued")];
            Reply::json(200, &json!(before))
        }
        "GET /api/tasks/t" => in_status("pending"),
        "GET /api/events?task=t" => {
            assert_eq!(seen.headers["last-event-id"], "3");
            Reply::problem(401, "unauthorized")
        }
        _ => Reply::json(200, &json!([])),
    })
    .await;
    let (kinds, end) = log(&server).await;
    assert_eq!(kinds, ["task_created", "task_cancelled", "task_requeued"]);
    assert_eq!(end.unwrap_err(), Error::invalid("unauthorized", "d"));
}

#[tokio::test]
async fn a_task_that_does_not_exist_has_no_log() {
    let body =
        json!({"title": "x", "status": 404, "code": "not_found", "detail": "d", "kind": "task", "id": "t"});
    let server = Server::start(move |_, _| Reply::json(404, &body)).await;
    assert_eq!(log(&server).await, (vec![], Err(Error::not_found(Kind::Task, "t"))));
}
