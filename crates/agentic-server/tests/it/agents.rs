//! `/api/agents`.

use std::{sync::Arc, time::Duration};

use agentic_core::{
    agent::{AgentSpec, AgentStatus},
    api::{CreateTask, HeartbeatBody, RunningAttempt},
    error::{ConflictCode, Error, Kind},
    id::AgentId,
    usage::{Directive, Figures},
};
use agentic_dispatch::LeastLoaded;
use agentic_testkit::given::id;
use serde_json::json;

use crate::world::World;

const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn an_agents_life() {
    let world = World::start().await;
    let client = &world.client;
    let spec = AgentSpec { max_load: 2, ..AgentSpec::new(id("a")) };
    let reply = world.call("POST", "/api/agents", r#"{"id":"b","status":"busy","registered_at":"x"}"#).await;
    assert_eq!(reply.status, 201, "what the server decides is ignored");
    let agent = client.register_agent(&spec.into()).await.unwrap();
    assert_eq!((agent.incarnation, agent.max_load, agent.status), (1, 2, AgentStatus::Available));
    assert_eq!(client.agent(&id("a")).await.unwrap(), agent);
    let ids: Vec<AgentId> = client.agents().await.unwrap().into_iter().map(|agent| agent.id).collect();
    assert_eq!(ids, [id("a"), id("b")]);

    client.drain(&id("a")).await.unwrap();
    assert!(client.agent(&id("a")).await.unwrap().draining);
    client.resume(&id("a")).await.unwrap();
    assert!(!client.agent(&id("a")).await.unwrap().draining);

    client.deregister_agent(&id("a")).await.unwrap();
    assert_eq!(client.agent(&id("a")).await, Err(Error::not_found(Kind::Agent, "a")));
    assert_eq!(client.deregister_agent(&id("a")).await, Err(Error::not_found(Kind::Agent, "a")));
    assert_eq!(world.call("DELETE", "/api/agents/b", "").await.status, 204);
}

#[tokio::test]
async fn agents_come_in_pages() {
    let world = World::start().await;
    for i in 0..5 {
        world.client.register_agent(&AgentSpec::new(id(&format!("a{i}"))).into()).await.unwrap();
    }
    let reply = world.call("GET", "/api/agents?limit=2", "").await;
    assert_eq!(reply.header("link"), r#"</api/agents?limit=2&cursor=a1>; rel="next""#);
    let reply = world.call("GET", "/api/agents?limit=2&cursor=a1", "").await;
    assert_eq!(reply.json()[0]["id"], "a2");
    let reply = world.call("GET", "/api/agents?limit=2&cursor=a2", "").await;
    assert_eq!((reply.json()[1]["id"].as_str(), reply.header("link")), (Some("a4"), ""));
}

#[tokio::test]
async fn a_heartbeat_needs_no_body() {
    let world = World::start().await;
    world.client.register_agent(&AgentSpec::new(id("a")).into()).await.unwrap();
    world.clock.advance(Duration::from_secs(9));
    let reply = world.call("POST", "/api/agents/a/heartbeat", "").await;
    assert_eq!((reply.status, &reply.json()["directives"]), (200, &json!([])));
    assert_eq!(reply.json()["agent"]["last_heartbeat"], "2026-03-01T12:00:09.000Z");
    let stale = HeartbeatBody { incarnation: Some(7), attempts: Vec::new() };
    let error = world.client.heartbeat(&id("a"), &stale).await.unwrap_err();
    assert!(error.is_conflict(ConflictCode::StaleIncarnation), "{error}");
}

#[tokio::test]
async fn a_heartbeat_says_what_each_attempt_is_to_do() {
    let world = World::start().await;
    let client = &world.client;
    let agent = client.register_agent(&AgentSpec::new(id("a")).into()).await.unwrap();
    for task in ["t1", "t2"] {
        let create = CreateTask { id: task.to_owned(), ..CreateTask::new("x") };
        let task = client.create_task(&create).await.unwrap();
        world.fleet.dispatcher(Arc::new(LeastLoaded)).dispatch(&task).await.unwrap();
    }
    client.cancel_task(&id("t2"), "").await.unwrap();
    let usage = Some(Figures { tokens_in: 5u32.into(), ..Figures::default() });
    let running = |task: &str| RunningAttempt { task_id: id(task), attempt: 1, usage };
    let beat =
        HeartbeatBody { incarnation: Some(agent.incarnation), attempts: vec![running("t1"), running("t2")] };
    let answer = client.heartbeat(&id("a"), &beat).await.unwrap();
    let told: Vec<_> = answer.directives.iter().map(|told| (told.task_id.as_str(), told.directive)).collect();
    assert_eq!(told, [("t1", Directive::Continue), ("t2", Directive::Stop)]);
    assert_eq!(answer.directives[0].lease_secs, Some(60));
    assert_eq!(answer.directives[1].reason.as_deref(), Some("cancelled"));
    assert_eq!(client.usage(&id("a")).await.unwrap().tokens_used, 10u32.into());
}

#[tokio::test]
async fn an_assignment_wakes_its_long_poll() {
    let world = World::start().await;
    let agent = world.client.register_agent(&AgentSpec::new(id("a")).into()).await.unwrap();
    let task = world.client.create_task(&CreateTask::new("x")).await.unwrap();
    let id = agent.id.clone();
    let mut poll = Box::pin(world.client.assignments(&id, agent.incarnation, Duration::from_mins(1)));
    let early = tokio::time::timeout(Duration::from_millis(100), &mut poll).await;
    assert!(early.is_err(), "nothing is assigned, and it waits");
    world.fleet.dispatcher(Arc::new(LeastLoaded)).dispatch(&task).await.unwrap();
    let assigned = tokio::time::timeout(SOON, poll).await.expect("it wakes").unwrap();
    assert_eq!((assigned.len(), &assigned[0].id, assigned[0].attempt), (1, &task.id, 1));
}

#[tokio::test]
async fn a_poll_without_a_wait_answers_at_once() {
    let world = World::start().await;
    world.client.register_agent(&AgentSpec::new(id("a")).into()).await.unwrap();
    let path = "/api/agents/a/assignments";
    assert_eq!(world.call("GET", &format!("{path}?incarnation=1"), "").await.json(), json!([]));
    assert_eq!(world.call("GET", path, "").await.problem(422, "invalid")["field"], "incarnation");
    world.call("GET", &format!("{path}?incarnation=2"), "").await.problem(409, "stale_incarnation");
    world.call("GET", "/api/agents/b/assignments?incarnation=1", "").await.problem(404, "not_found");
}
