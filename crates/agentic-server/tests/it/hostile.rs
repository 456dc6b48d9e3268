//! What strangers send.

use agentic_testkit::given::id;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::world::World;

#[tokio::test]
async fn texts_come_back_as_they_were_and_as_json() {
    let world = World::start().await;
    let text = "\u{1b}[2J\u{202e}<script>alert(1)</script>\r\n\u{7}'; DROP TABLE tasks; --";
    let body = json!({ "id": "t", "title": text, "description": text, "files": ["../../etc/passwd", "-rf"] });
    assert_eq!(world.call("POST", "/api/tasks", &body.to_string()).await.status, 201);
    let reply = world.call("GET", "/api/tasks/t", "").await;
    assert_eq!(
        (reply.json()["title"].as_str(), reply.json()["files"][1].as_str()),
        (Some(text), Some("-rf"))
    );
    assert_eq!(reply.header("content-type"), "application/json");
    assert_eq!(reply.header("x-content-type-options"), "nosniff");
    assert!(!reply.body.contains(&0x1b), "control characters are escaped");
    world.client.cancel_task(&id("t"), text).await.unwrap();
    let request = world.request("GET", "/api/events?after=0").body("").unwrap();
    let frame = http_body_util::BodyExt::frame(world.open(request).await.unwrap().body_mut()).await;
    let frame = frame.unwrap().unwrap().into_data().unwrap();
    assert!(!frame.contains(&b'\r') && !frame.contains(&0x1b), "{frame:?}");
}

#[tokio::test]
async fn paths_and_queries_are_checked() {
    let world = World::start().await;
    for path in ["..%2f..%2fetc%2fpasswd", "%00", "a%20b", "a%0d%0aX-Y:%20z", &"x".repeat(129)] {
        let reply = world.call("GET", &format!("/api/tasks/{path}"), "").await;
        assert_eq!(reply.problem(422, "invalid")["field"], "task_id", "{path}");
    }
    world.call("GET", "/api/tasks/%ff", "").await.problem(400, "malformed");
    let long = format!("/{}", "x".repeat(9_000));
    let reply = world.call("GET", &long, "").await;
    reply.problem(404, "not_found");
    assert!(reply.body.len() < 1_000, "what was sent is not all sent back");
    let reply = world.call("GET", &format!("/api/tasks?{}=1", "x".repeat(9_000)), "").await;
    reply.problem(422, "invalid");
    assert!(reply.body.len() < 1_000, "what was sent is not all sent back");
}

#[tokio::test]
async fn bodies_are_checked() {
    let world = World::start().await;
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    world.call("POST", "/api/usage", &nested).await.problem(422, "invalid");
    world.call("POST", "/api/tasks", &format!(r#"{{"status": {nested}}}"#)).await.problem(400, "malformed");
    for body in [r#"{"title":"x","max_retries":-1}"#, r#"{"title":"x","max_retries":1e400}"#] {
        assert!([400, 422].contains(&world.call("POST", "/api/tasks", body).await.status), "{body}");
    }
    let twice = world.call("POST", "/api/tasks", r#"{"title":"x","title":"y"}"#).await;
    assert_eq!(twice.problem(422, "invalid")["field"], "title");
    let many = format!("[{}]", vec![r#"{"title":"x"}"#; 1_001].join(","));
    assert_eq!(world.call("POST", "/api/tasks", &many).await.status, 422);
    let broken = world.request("POST", "/api/tasks").header("content-type", "application/json");
    world.send(broken.body(&b"{\"title\":\"\xff\"}"[..]).unwrap()).await.problem(400, "malformed");
    assert!(world.client.status().await.unwrap().tasks.is_empty());
}

#[tokio::test]
async fn what_is_no_http_ends_its_connection_only() {
    let world = World::start().await;
    for nonsense in
        [&b"\x16\x03\x01\x00\xa5\x01\x00\x00"[..], b"GET / HTTP/9.9\r\n\r\n", b"\r\n\r\n\0\0\r\n\r\n"]
    {
        let mut stream = tokio::net::TcpStream::connect(world.addr).await.unwrap();
        stream.write_all(nonsense).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"), "{answer:?}");
    }
    world.client.health().await.unwrap();
}
