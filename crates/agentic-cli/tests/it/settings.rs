//! Where settings come from.

use std::{
    io::{Read, Write},
    net::TcpListener,
    thread,
};

use crate::sandbox::Sandbox;

#[test]
fn every_value_says_where_it_comes_from() {
    let sandbox = Sandbox::new().with("AGENTIC_LEASE", "2m").with("AGENTIC_TOKEN", "s3cret");
    sandbox.write("work/agentic.yaml", "heartbeat: 2s\nlease: 7s\n");
    sandbox.write("work/.env", "AGENTIC_TICK=3s\nOTHERS=1\n");
    sandbox.write(".config/agentic/config.yaml", "heartbeat: 3s\nagent_ttl: 1m\n");
    sandbox.write(".core/agentic.yaml", "base_url: http://go\ndefault_project: website\n");
    let shown = sandbox.json(&["config", "show"]);
    let of = |key: &str| (shown[key]["value"].as_str().unwrap(), shown[key]["from"].as_str().unwrap());
    assert_eq!(of("heartbeat"), ("2s", "./agentic.yaml"));
    assert_eq!(of("lease"), ("2m", "AGENTIC_LEASE in the environment"));
    assert_eq!(of("tick"), ("3s", "AGENTIC_TICK in ./.env"));
    assert_eq!(of("token"), ("********", "AGENTIC_TOKEN in the environment"));
    assert_eq!(of("claim_lease"), ("1h", "default"));
    let user = sandbox.home(".config/agentic/config.yaml").display().to_string();
    assert_eq!(of("agent_ttl"), ("1m", user.as_str()));
    let go = sandbox.home(".core/agentic.yaml").display().to_string();
    assert_eq!(of("default_project"), ("website", go.as_str()));
    let flagged = sandbox.json(&["--base-url", "http://flag", "config", "show"]);
    assert_eq!(flagged["base_url"]["from"], "flag --base-url");
    let text = sandbox.ok(&["config", "show"]);
    assert!(!text.contains("s3cret") && text.contains("heartbeat"), "{text}");
}

#[test]
fn unknown_keys_name_the_nearest_and_the_line() {
    let sandbox = Sandbox::new();
    sandbox.write("work/agentic.yaml", "lease: 1m\nheartbaet: 5s\n");
    let done = sandbox.run(&["config", "show"]);
    assert_eq!(done.code, 2);
    assert!(done.err.contains("did you mean `heartbeat`?") && done.err.contains("line 2"), "{}", done.err);
}

#[test]
fn times_that_cannot_work_are_refused() {
    let sandbox = Sandbox::new().with("AGENTIC_LEASE", "5s");
    let done = sandbox.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(done.code, 2);
    assert!(done.err.contains("lease") && done.err.contains("three heartbeats"), "{}", done.err);
}

/// Answers one request with 401, and with what it was asked.
fn eavesdropper() -> (String, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let heard = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        let len = stream.read(&mut request).unwrap();
        let body = r#"{"title":"Unauthorized","status":401,"code":"unauthorized","detail":"who are you?"}"#;
        write!(
            stream,
            "HTTP/1.1 401 Unauthorized\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        String::from_utf8_lossy(&request[..len]).to_lowercase()
    });
    (url, heard)
}

#[test]
fn a_base_url_from_the_working_directory_gets_no_token_from_elsewhere() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let sandbox = Sandbox::new().with("AGENTIC_TOKEN", "s3cret");
    sandbox.write("work/agentic.yaml", &format!("base_url: http://{}\n", listener.local_addr().unwrap()));
    let done = sandbox.run(&["status"]);
    assert_eq!(done.code, 2);
    assert!(done.err.contains("never used with a token from elsewhere"), "{done:?}");
    assert!(listener.accept().is_err(), "nobody was called");
}

#[test]
fn the_local_token_is_not_for_a_base_url_from_the_working_directory() {
    let (url, heard) = eavesdropper();
    let sandbox = Sandbox::new();
    sandbox.write(".local/state/agentic/token", "0123456789abcdef\n");
    sandbox.write("work/.env", &format!("AGENTIC_BASE_URL={url}\n"));
    let done = sandbox.run(&["status"]);
    let heard = heard.join().unwrap();
    assert!(heard.starts_with("get /api/status") && !heard.contains("authorization"), "{heard}");
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.err.contains("AGENTIC_TOKEN"), "{done:?}");
}

#[test]
fn the_local_token_is_found_otherwise() {
    let (url, heard) = eavesdropper();
    let sandbox = Sandbox::new().with("AGENTIC_BASE_URL", url);
    sandbox.write(".local/state/agentic/token", "0123456789abcdef\n");
    sandbox.run(&["status"]);
    assert!(heard.join().unwrap().contains("authorization: bearer 0123456789abcdef"));
}
