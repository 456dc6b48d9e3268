//! The end of a server: prompt for what waits, patient with what runs.

use std::{sync::Arc, time::Duration};

use agentic_core::{agent::AgentSpec, memory::Memory};
use agentic_testkit::given::id;
use http_body_util::BodyExt as _;
use tokio::sync::Notify;

use crate::world::{Fault, World, with_fault};

/// Much shorter than the grace and the waits below.
const SOON: Duration = Duration::from_secs(20);
const LONG: Duration = Duration::from_mins(10);

async fn ended(world: &mut World) {
    tokio::time::timeout(SOON, &mut world.running).await.expect("the server ends").unwrap();
}

#[tokio::test]
async fn streams_and_long_polls_end_at_once() {
    let mut world = World::over(Memory::new().ports(), |server| server.grace(LONG)).await;
    let agent = world.client.register_agent(&AgentSpec::new(id("a")).into()).await.unwrap();
    let request = world.request("GET", "/api/events").body("").unwrap();
    let stream = world.open(request).await.unwrap();
    let path = format!("/api/agents/a/assignments?incarnation={}&wait=60", agent.incarnation);
    let request = world.request("GET", &path).body("").unwrap();
    let mut poll = Box::pin(world.open(request));
    let early = tokio::time::timeout(Duration::from_secs(2), &mut poll).await;
    assert!(early.is_err(), "it waits");
    world.stop.cancel();
    let response = tokio::time::timeout(SOON, poll).await.expect("the poll ends").unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["retry-after"]),
        (503, &"1".parse().unwrap())
    );
    tokio::time::timeout(SOON, stream.into_body().collect()).await.expect("the stream ends").unwrap();
    ended(&mut world).await;
}

#[tokio::test]
async fn what_runs_may_end() {
    let (asked, answer) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let fault = Fault::Hold { asked: Arc::clone(&asked), answer: Arc::clone(&answer) };
    let mut world = World::over(with_fault(fault), |server| server.grace(LONG)).await;
    let request = world.request("GET", "/v1/health").body("").unwrap();
    let mut response = Box::pin(world.open(request));
    tokio::select! {
        _ = &mut response => panic!("it is held"),
        () = asked.notified() => world.stop.cancel(),
    }
    let early = tokio::time::timeout(Duration::from_millis(100), &mut response).await;
    assert!(early.is_err(), "it goes on");
    answer.notify_one();
    assert_eq!(response.await.unwrap().status(), 200);
    ended(&mut world).await;
    assert!(tokio::net::TcpStream::connect(world.addr).await.is_err(), "nothing more is accepted");
}

#[tokio::test]
async fn what_does_not_end_is_cut_off_after_the_grace() {
    let asked = Arc::new(Notify::new());
    let fault = Fault::Hold { asked: Arc::clone(&asked), answer: Arc::default() };
    let grace = Duration::from_millis(50);
    let mut world = World::over(with_fault(fault), |server| server.grace(grace).request_timeout(LONG)).await;
    let request = world.request("GET", "/v1/health").body("").unwrap();
    let in_flight = async {
        asked.notified().await;
        world.stop.cancel();
    };
    let (response, ()) = tokio::join!(world.open(request), in_flight);
    assert!(response.is_err());
    ended(&mut world).await;
}

#[tokio::test]
async fn idle_connections_do_not_hold_up_the_end() {
    let mut world = World::over(Memory::new().ports(), |server| server.grace(LONG)).await;
    let _silent = tokio::net::TcpStream::connect(world.addr).await.unwrap();
    world.client.status().await.unwrap();
    world.stop.cancel();
    ended(&mut world).await;
}
