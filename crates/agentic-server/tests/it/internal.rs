//! The ports over HTTP, but for what the suite says of them.

use std::time::Duration;

use agentic_client::remote_ports;
use agentic_core::{
    error::Error,
    task::{Page, TaskFilter},
};
use agentic_testkit::given::{self, t};

use crate::world::World;

#[tokio::test]
async fn a_caller_with_another_clock_is_refused() {
    let world = World::start().await;
    let ports = remote_ports(world.client.clone());
    let (filter, page) = (TaskFilter::default(), Page::first(1));
    for near in [-5, 0, 5] {
        ports.tasks.list(&filter, &page, t(near)).await.unwrap();
    }
    for (far, side) in [(-6, "6.0 s behind"), (6, "6.0 s ahead of")] {
        let error = ports.tasks.list(&filter, &page, t(far)).await.unwrap_err();
        assert!(matches!(&error, Error::Invalid { field, .. } if field == "clock_skew"), "{error:?}");
        assert!(error.to_string().contains(side), "{error}");
    }
    world.clock.advance(Duration::from_secs(6));
    ports.tasks.list(&filter, &page, t(6)).await.unwrap();
}

#[tokio::test]
async fn a_call_without_a_time_needs_no_clock() {
    let world = World::start().await;
    let ports = remote_ports(world.client.clone());
    assert!(ports.tasks.counts().await.unwrap().is_empty());
    assert!(ports.allowances.job(&given::job("t", 1)).await.unwrap().is_none());
}

#[tokio::test]
async fn what_is_no_call_is_refused() {
    let world = World::start().await;
    let reply = world.call("POST", "/internal/v1/call", r#"{"method":"tasks.nope","args":{}}"#).await;
    assert_eq!(reply.problem(422, "invalid")["field"], "method");
    world.call("POST", "/internal/v1/call", "").await.problem(400, "malformed");
}
