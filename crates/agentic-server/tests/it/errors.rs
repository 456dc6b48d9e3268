//! Every refusal is a problem with a stable code.

use std::{sync::Arc, time::Duration};

use agentic_core::memory::Memory;

use crate::world::{Fault, TOKEN, World, with_fault};

#[tokio::test]
async fn the_table_of_refusals() {
    let world = World::start().await;
    world.call("POST", "/api/tasks", r#"{"id": "t", "title": "x"}"#).await;
    for (method, path, body, status, code, field) in [
        ("GET", "/", "", 404, "not_found", None),
        ("GET", "/api/tasks/", "", 404, "not_found", None),
        ("GET", "/api/nope", "", 404, "not_found", None),
        ("GET", "/api/tasks/none", "", 404, "not_found", None),
        ("GET", "/api/tasks/none/history", "", 404, "not_found", None),
        ("GET", "/api/agents/none", "", 404, "not_found", None),
        ("GET", "/api/allowances/none", "", 404, "not_found", None),
        ("GET", "/api/models/none", "", 404, "not_found", None),
        ("POST", "/api/agents/none/heartbeat", "{}", 404, "not_found", None),
        ("DELETE", "/api/tasks", "", 405, "method_not_allowed", None),
        ("POST", "/api/status", "", 405, "method_not_allowed", None),
        ("POST", "/api/tasks", "{", 400, "malformed", None),
        ("POST", "/api/tasks", "", 400, "malformed", None),
        ("POST", "/api/tasks", "null", 422, "invalid", Some("request")),
        ("POST", "/api/tasks", r#"{"title":"x"} {}"#, 400, "malformed", None),
        ("POST", "/api/tasks", r#"{"title":"x","nope":1}"#, 422, "invalid", Some("nope")),
        ("POST", "/api/tasks", r#"[{"title":"x"},{"nope":1}]"#, 422, "invalid", Some("[1].nope")),
        ("POST", "/api/tasks", r#"{"title":""}"#, 422, "invalid", Some("title")),
        ("POST", "/api/tasks", r#"{"title":5}"#, 422, "invalid", Some("title")),
        ("POST", "/api/tasks", r#"{"title":"x","labels":["a,b"]}"#, 422, "invalid", Some("labels[0]")),
        ("POST", "/api/tasks", r#"{"title":"x","priority":"urgent"}"#, 422, "invalid", Some("priority")),
        ("POST", "/api/tasks", r#"{"title":"x","dependencies":["u"]}"#, 422, "invalid", Some("dependencies")),
        ("POST", "/api/tasks", r#"{"id":"t","title":"x"}"#, 409, "exists", None),
        ("POST", "/api/tasks", r#"{"id":"../x","title":"x"}"#, 422, "invalid", Some("task_id")),
        ("GET", "/api/tasks?limit=0", "", 422, "invalid", Some("limit")),
        ("GET", "/api/tasks?limit=1001", "", 422, "invalid", Some("limit")),
        ("GET", "/api/tasks?limit=x", "", 422, "invalid", Some("limit")),
        ("GET", "/api/tasks?cursor=x", "", 422, "invalid", Some("cursor")),
        ("GET", "/api/tasks?status=done", "", 422, "invalid", Some("status")),
        ("GET", "/api/tasks?nope=1", "", 422, "invalid", Some("nope")),
        ("GET", "/api/tasks?status=failed&status=pending", "", 422, "invalid", Some("status")),
        ("GET", "/api/agents?limit=0", "", 422, "invalid", Some("limit")),
        ("PATCH", "/api/tasks/t", r#"{"progress":101}"#, 422, "invalid", Some("progress")),
        ("PATCH", "/api/tasks/t", r#"{"progress":1}"#, 409, "illegal_transition", None),
        ("POST", "/api/tasks/t/claim", "{}", 422, "invalid", Some("agent_id")),
        (
            "POST",
            "/api/tasks/t/claim",
            r#"{"agent_id":"a","lease_secs":0}"#,
            422,
            "invalid",
            Some("lease_secs"),
        ),
        ("POST", "/api/tasks/t/complete", "", 400, "malformed", None),
        ("POST", "/api/tasks/t/complete", r#"{"success":true}"#, 409, "illegal_transition", None),
        ("POST", "/api/tasks/t/requeue", "", 409, "illegal_transition", None),
        ("POST", "/api/agents", r#"{"name":"x"}"#, 422, "invalid", Some("id")),
        (
            "POST",
            "/api/agents/a/heartbeat",
            r#"{"attempts":[{"task_id":"t","attempt":1,"usage":{"tokens":1}}]}"#,
            422,
            "invalid",
            Some("attempts[0].usage.tokens"),
        ),
        ("POST", "/api/usage", r#"{"agent_id":"a","job_id":"t#1"}"#, 422, "invalid", Some("event")),
    ] {
        let reply = world.call(method, path, body).await;
        let what = format!("{method} {path} {body}: {}", String::from_utf8_lossy(&reply.body));
        assert_eq!(reply.status, status, "{what}");
        let problem = reply.problem(status, code);
        assert_eq!(problem["field"].as_str(), field, "{what}");
    }
}

#[tokio::test]
async fn other_methods_are_named() {
    let world = World::start().await;
    let reply = world.call("PUT", "/api/tasks", "").await;
    reply.problem(405, "method_not_allowed");
    let mut allowed: Vec<&str> = reply.header("allow").split(',').collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "HEAD", "POST"]);
}

#[tokio::test]
async fn who_is_not_known_is_asked_for_a_token() {
    let world = World::start().await;
    for (shown, challenge) in [
        (None, r#"Bearer realm="agentic""#),
        (Some("Bearer"), r#"Bearer realm="agentic""#),
        (Some("Bearer wrong"), r#"Bearer realm="agentic", error="invalid_token""#),
        (Some("Basic x"), r#"Bearer realm="agentic", error="invalid_token""#),
    ] {
        let mut request = world.request("GET", "/api/status");
        request.headers_mut().unwrap().remove("authorization");
        if let Some(shown) = shown {
            request = request.header("authorization", shown);
        }
        let reply = world.send(request.body("").unwrap()).await;
        reply.problem(401, "unauthorized");
        assert_eq!(reply.header("www-authenticate"), challenge);
    }
    let mut request = world.request("GET", "/api/status");
    request.headers_mut().unwrap().insert("authorization", format!("bearer  {TOKEN}").parse().unwrap());
    assert_eq!(world.send(request.body("").unwrap()).await.status, 200);
}

#[tokio::test]
async fn bodies_have_a_bound_and_a_type() {
    let world = World::start().await;
    let post = |kind: &'static str, body: String| {
        let request = world.request("POST", "/api/tasks").header("content-type", kind);
        world.send(request.body(body).unwrap())
    };
    let sized = |size: usize| format!(r#"{{"title":"x"}}{}"#, " ".repeat(size - 13));
    assert_eq!(post("application/json", sized(1 << 20)).await.status, 201);
    post("application/json", sized((1 << 20) + 1)).await.problem(413, "too_large");
    for kind in ["text/plain", "", "application/x-www-form-urlencoded", "application/jsonp"] {
        post(kind, sized(13)).await.problem(415, "unsupported_media_type");
    }
    for kind in ["application/json; charset=utf-8", "APPLICATION/JSON", "application/merge-patch+json"] {
        assert_eq!(post(kind, sized(13)).await.status, 201, "{kind}");
    }
}

#[tokio::test]
async fn a_panic_is_one_500() {
    let world = World::over(with_fault(Fault::Panic), |server| server).await;
    let reply = world.call("GET", "/v1/health", "").await;
    let problem = reply.problem(500, "backend");
    assert!(!problem.to_string().contains("secret"), "{problem}");
    assert!(!reply.header("x-request-id").is_empty());
    assert_eq!(world.call("GET", "/livez", "").await.status, 200, "the server goes on");
}

#[tokio::test]
async fn what_failed_inside_stays_inside() {
    let world = World::over(with_fault(Fault::Broken), |server| server).await;
    let problem = world.call("GET", "/readyz", "").await.problem(500, "backend");
    assert!(!problem.to_string().contains("secret"), "{problem}");
}

#[tokio::test]
async fn what_is_away_is_worth_another_try() {
    let world = World::over(with_fault(Fault::Away), |server| server).await;
    for path in ["/v1/health", "/readyz", "/api/events"] {
        let reply = world.call("GET", path, "").await;
        reply.problem(503, "unavailable");
        assert_eq!(reply.header("retry-after"), "1", "{path}");
    }
    assert!(world.client.health().await.unwrap_err().is_retryable());
    assert_eq!(world.call("GET", "/livez", "").await.status, 200);
}

#[tokio::test]
async fn what_takes_too_long_ends() {
    let fault = Fault::Hold { asked: Arc::default(), answer: Arc::default() };
    let limit = Duration::from_millis(50);
    let world = World::over(with_fault(fault), |server| server.request_timeout(limit)).await;
    let reply = world.call("GET", "/v1/health", "").await;
    reply.problem(503, "unavailable");
    assert_eq!(reply.header("retry-after"), "1");
}

#[tokio::test]
async fn a_server_needs_a_token() {
    let fleet = World::over(Memory::new().ports(), |server| server).await.fleet.clone();
    for bad in ["", "short", "with a blank in it", "with\nanother line in it"] {
        assert!(agentic_server::Server::builder(fleet.clone()).admin_token(bad).build().is_err(), "{bad:?}");
    }
    assert!(agentic_server::Server::builder(fleet).build().is_err());
}

#[tokio::test]
async fn a_request_has_an_id() {
    let world = World::start().await;
    let with = |id: &str| {
        let request = world.request("GET", "/livez").header("x-request-id", id);
        world.send(request.body("").unwrap())
    };
    assert_eq!(with("my-request.1").await.header("x-request-id"), "my-request.1");
    for strange in ["", "a b", "<script>", &"x".repeat(65)] {
        let id = with(strange).await.header("x-request-id").to_owned();
        assert!(id != strange && id.len() == 32, "{id}");
    }
}
