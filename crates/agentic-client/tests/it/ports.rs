//! The ports over HTTP: calls of agentic-core's list, answered here by its memory back end.

use std::time::Duration;

use agentic_client::remote_ports;
use agentic_core::{
    clock::Timestamp,
    error::{ConflictCode, Error},
    memory::Memory,
    port::CreateMany,
    rpc::{self, Call},
    task::NewTask,
};

use crate::server::{Reply, Server};

/// A server of the calls to a memory back end.
async fn served() -> Server {
    let ports = Memory::new().ports();
    Server::start(move |_, seen| {
        assert_eq!(seen.line, "POST /internal/v1/call");
        let call: Call = serde_json::from_str(&seen.body).unwrap();
        // No call of a test waits, so that one poll answers it.
        let mut answer = Box::pin(rpc::serve(&ports, call));
        let polled = futures_util::FutureExt::now_or_never(&mut answer);
        match polled.unwrap() {
            Ok(answer) => Reply::json(200, &answer),
            Err(error) => {
                let problem = agentic_core::api::Problem::from(&error);
                Reply::json(problem.status, &serde_json::to_value(&problem).unwrap())
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_port_answers_as_if_it_were_at_hand() {
    let server = served().await;
    let fleet = remote_ports(server.client());
    let id = "t".parse().unwrap();
    let create = CreateMany::new(vec![NewTask::new("t".parse().unwrap(), "x")], Timestamp::EPOCH);
    fleet.tasks.create_many(create.clone()).await.unwrap();
    assert_eq!(fleet.tasks.get(&id, Timestamp::EPOCH).await.unwrap().title, "x");
    assert!(fleet.tasks.create_many(create).await.unwrap_err().is_conflict(ConflictCode::Exists));
    fleet.settings.put("k", None).await.unwrap();
    assert_eq!(fleet.settings.get("k").await.unwrap(), None);
    assert!(fleet.events.wait(0, Duration::from_mins(1)).await.unwrap());
}

#[tokio::test]
async fn ports_repeat_nothing() {
    let server = Server::start(|_, _| Reply::Cut).await;
    let error = remote_ports(server.client()).tasks.counts().await.unwrap_err();
    assert_eq!(error, Error::unavailable(format!("the server at {}/", server.url)));
    assert_eq!(server.seen().len(), 1);
}
