//! The ways to a Redis: TLS, users, databases, sentinels; and what is left after a failover.

use std::{
    fs,
    process::{Child, Command, Stdio},
    time::Duration,
};

use agentic_testkit::port::free_port;
use tempfile::TempDir;
use tokio::time::Instant;

use crate::{
    redis::{self, Redis},
    sandbox::{Running, Sandbox},
};

/// How long sentinels may take to notice and to agree.
const FAILOVER: Duration = Duration::from_mins(2);

/// A fleet works there: a task is submitted, and can be read.
fn works(sandbox: Sandbox, url: &str) {
    let served = sandbox.serve(&["--store", url]);
    served.sandbox.ok(&["submit", "x", "--id", "x"]);
    assert_eq!(served.sandbox.json(&["show", "x"])["status"], "pending");
}

/// A file of `tests/tls`, which `make.sh` there makes.
fn tls(name: &str) -> String {
    format!("{}/tests/tls/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn tls_with_an_authority_of_ones_own() {
    let (port, ca) = (free_port().to_string(), tls("ca.pem"));
    let (cert, key) = (tls("server.pem"), tls("server.key"));
    let served = ["--tls-port", &port, "--tls-cert-file", &cert, "--tls-key-file", &key];
    let _redis =
        Redis::start(&[&served[..], &["--tls-ca-cert-file", &ca, "--tls-auth-clients", "no"]].concat());
    let url = format!("rediss://localhost:{port}/0");
    works(Sandbox::new().with("SSL_CERT_FILE", &ca), &url);
    let stranger = Sandbox::new().with("SSL_CERT_FILE", tls("stranger.pem"));
    let refused = stranger.run(&["serve", "--listen", "127.0.0.1:0", "--store", &url]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.err.contains("InvalidCertificate(UnknownIssuer)"), "{refused:?}");
}

#[test]
fn a_user_with_few_rights_and_a_database_of_its_own() {
    let redis = Redis::start(&[]);
    let user = "ACL SETUSER fleet on >se:cret ~agentic:* &* +@all -@dangerous +info +config|get";
    assert_eq!(redis.command(&user.split(' ').collect::<Vec<_>>()), "OK");
    assert_eq!(redis.command(&["ACL", "SETUSER", "default", "off"]), "OK");
    let url = |password: &str| format!("redis://fleet:{password}@127.0.0.1:{}/5", redis.port);
    works(Sandbox::new(), &url("se%3Acret"));
    let refused = Sandbox::new().run(&["serve", "--listen", "127.0.0.1:0", "--store", &url("guess")]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.err.contains("WRONGPASS") && refused.err.contains("part of the URL"), "{refused:?}");
}

#[test]
fn a_database_is_chosen_by_the_url() {
    let redis = Redis::start(&[]);
    works(Sandbox::new(), &redis.url().replace("/0", "/3"));
    let keyspace = redis.command(&["INFO", "keyspace"]);
    assert!(keyspace.contains("db3:") && !keyspace.contains("db0:"), "{keyspace}");
}

/// A sentinel of one primary.
fn sentinel(dir: &TempDir, port: u16, primary: u16) -> Running {
    let file = dir.path().join("sentinel.conf");
    let text = format!(
        "port {port}\nbind 127.0.0.1\nsentinel monitor fleet 127.0.0.1 {primary} 1\n\
         sentinel down-after-milliseconds fleet 5000\nsentinel failover-timeout fleet 5000\n"
    );
    fs::write(&file, text).unwrap();
    let child: Child = Command::new("redis-server")
        .arg(&file)
        .arg("--sentinel")
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Running(child)
}

/// A primary whose replica has all that it wrote.
fn pair() -> (Redis, Redis) {
    let primary = Redis::start(&[]);
    let replica = Redis::start(&["--replicaof", "127.0.0.1", &primary.port.to_string()]);
    replica.until(&["INFO", "replication"], |info| info.contains("master_link_status:up"));
    (primary, replica)
}

#[test]
fn sentinels_name_the_primary_before_and_after_a_failover() {
    let (mut primary, replica) = pair();
    let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
    let _sentinel = sentinel(&dir, port, primary.port);
    redis::until(port, &["INFO", "sentinel"], |info| info.contains("slaves=1"));
    let url = format!("redis-sentinel://127.0.0.1:{port}/0?sentinelServiceName=fleet");
    let times = r#"{"command_timeout": "1s", "connect_timeout": "2s"}"#;
    let served = Sandbox::new().with("AGENTIC_REDIS", times).serve(&["--store", &url]);
    served.sandbox.ok(&["submit", "x", "--id", "x"]);
    replica.until(&["EXISTS", "agentic:task:x"], |found| found == "1");
    primary.kill();
    replica.until(&["INFO", "replication"], |info| info.contains("role:master"));
    let began = Instant::now();
    while served.sandbox.run(&["submit", "y", "--id", "y", "--idempotency-key", "y"]).code != 0 {
        assert!(began.elapsed() < FAILOVER, "the server does not find the new primary");
    }
    assert_eq!(served.sandbox.json(&["show", "x"])["title"], "x", "what the replica had is there");
}

#[test]
fn a_failover_loses_what_the_replica_had_not_received_and_only_that() {
    let (mut primary, replica) = pair();
    let served = Sandbox::new().serve(&["--store", &primary.url()]);
    served.sandbox.ok(&["submit", "kept", "--id", "kept"]);
    replica.until(&["EXISTS", "agentic:task:kept"], |found| found == "1");
    // It hears nothing more: what was sent to it already would count as received.
    replica.signal("STOP");
    primary.command(&["CLIENT", "KILL", "TYPE", "replica"]);
    served.sandbox.ok(&["submit", "lost", "--id", "lost"]);
    primary.kill();
    replica.signal("CONT");
    replica.command(&["REPLICAOF", "NO", "ONE"]);
    let served = Sandbox::new().serve(&["--store", &replica.url()]);
    assert_eq!(served.sandbox.json(&["show", "kept"])["status"], "pending");
    assert_eq!(served.sandbox.run(&["show", "lost"]).code, 3, "acknowledged, and lost as a whole");
    let _worker = served.worker(&["--agent-id", "ada"], "true");
    assert_eq!(served.ended("kept")["attempt"], 1, "the fleet goes on from there");
}
