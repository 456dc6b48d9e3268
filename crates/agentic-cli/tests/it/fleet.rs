//! Several servers of one fleet, on one Redis.

use std::{
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use agentic_client::Client;
use agentic_core::{api::CreateTask, event::Event};
use futures_util::StreamExt as _;
use tokio::{
    net::{TcpListener, TcpStream},
    time::Instant,
};

use crate::{
    redis::Redis,
    sandbox::{Sandbox, Served, until},
};

/// Far longer than any of these tests waits: what comes sooner was not found by looking.
const TICK: &str = "10m";
/// Longer than a woken step takes on a busy machine, and far shorter than [`TICK`] and every long poll.
const WOKEN: Duration = Duration::from_secs(15);

/// A server on a Redis that others share, with a home, a data directory and a token of its own.
fn server(redis: &Redis, dispatchers: &str) -> Served {
    let sandbox = Sandbox::new().with("AGENTIC_TICK", TICK).with("AGENTIC_DISPATCHERS", dispatchers);
    sandbox.serve(&["--store", &redis.url()])
}

fn client(served: &Served) -> Client {
    Client::builder(served.base_url()).token(served.token()).build().unwrap()
}

#[test]
fn a_task_of_one_server_starts_through_anothers_dispatcher_without_a_poll() {
    let redis = Redis::start(&[]);
    let (mute, dispatching) = (server(&redis, "0"), server(&redis, "1"));
    let _worker = mute.worker(&["--agent-id", "ada"], "echo done");
    // Its dispatcher has looked, and sleeps.
    dispatching.sandbox.ok(&["submit", "first", "--id", "first"]);
    mute.ended("first");
    let began = Instant::now();
    mute.sandbox.ok(&["submit", "second", "--id", "second"]);
    let task = mute.ended("second");
    assert!(began.elapsed() < WOKEN, "{:?}", began.elapsed());
    assert_eq!((&task["status"], &task["attempt"]), (&"completed".into(), &1.into()));
    assert_eq!(dispatching.sandbox.json(&["show", "second"]), task);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_log_in_one_order_and_a_follower_goes_on_at_another_server() {
    let redis = Redis::start(&[]);
    let (one, other) = (server(&redis, "1"), server(&redis, "1"));
    let clients = [client(&one), client(&other)];
    let submit = async |n: usize| {
        clients[n % 2].create_task(&CreateTask::new(format!("task {n}"))).await.unwrap();
    };
    let mut here = clients[0].events(Some(0), None);
    let mut seen: Vec<Event> = Vec::new();
    for n in 0..6 {
        submit(n).await;
        seen.push(tokio::time::timeout(WOKEN, here.next()).await.unwrap().unwrap().unwrap());
    }
    drop(here);
    submit(6).await;
    // Behind the last event that the first server told, at the other; what came meanwhile is there at once.
    let mut there = clients[1].events(seen.last().map(|event| event.id), None);
    for n in 7..13 {
        seen.push(tokio::time::timeout(WOKEN, there.next()).await.unwrap().unwrap().unwrap());
        submit(n).await;
    }
    for client in &clients {
        let whole: Vec<Event> =
            client.events(Some(0), None).take(seen.len()).map(|event| event.unwrap()).collect().await;
        assert_eq!(whole, seen);
    }
    assert!(seen.windows(2).all(|pair| pair[0].id < pair[1].id), "{seen:?}");
}

/// Passes connections on to the first server that takes them, as a proxy in front of a fleet does.
async fn proxy(backends: [String; 2]) -> (String, Arc<Mutex<Vec<usize>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let used = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&used);
    tokio::spawn(async move {
        loop {
            let (mut from, _) = listener.accept().await.unwrap();
            let (backends, log) = (backends.clone(), Arc::clone(&log));
            tokio::spawn(async move {
                for (n, backend) in backends.iter().enumerate() {
                    if let Ok(mut to) = TcpStream::connect(backend.trim_start_matches("http://")).await {
                        log.lock().unwrap().push(n);
                        let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
                        return;
                    }
                }
            });
        }
    });
    (url, used)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_whose_server_dies_goes_on_through_another_behind_a_proxy() {
    let redis = Redis::start(&[]);
    let one = server(&redis, "1");
    // One token for all who call by the proxy.
    let token = one.token();
    let sandbox = Sandbox::new().with("AGENTIC_TICK", TICK).with_token(&token);
    let other = sandbox.serve(&["--store", &redis.url()]);
    let (url, used) = proxy([one.base_url(), other.base_url()]).await;
    let sandbox = Sandbox::new().with("AGENTIC_BASE_URL", url).with("AGENTIC_TOKEN", token);
    let behind = Served { sandbox, server: one.server };
    tokio::task::block_in_place(|| {
        let script = "echo '{\"progress\": 10}' >> $AGENTIC_REPORT_FILE; until [ -e ../go ]; do sleep 0.05; done; echo done";
        let _worker = behind.worker(&["--agent-id", "ada"], script);
        behind.sandbox.ok(&["submit", "x", "--id", "x"]);
        until(&behind.sandbox, "x", "task_updated");
        drop(behind.server);
        fs::write(behind.sandbox.home("go"), "").unwrap();
        behind.sandbox.ok(&["logs", "x"]);
        let task = behind.sandbox.json(&["show", "x"]);
        assert_eq!(
            (&task["status"], &task["attempt"], &task["retry_count"]),
            (&"completed".into(), &1.into(), &0.into()),
            "the same attempt of the same start: {task}"
        );
    });
    assert!(used.lock().unwrap().contains(&1), "through the other server");
}

#[test]
fn a_token_of_one_server_is_unknown_to_another_unless_they_share_it() {
    let redis = Redis::start(&[]);
    let (one, other) = (server(&redis, "1"), server(&redis, "1"));
    assert_ne!(one.token(), other.token());
    let stranger = one.sandbox.run(&["status", "--base-url", &other.base_url(), "--token", &one.token()]);
    assert_eq!(stranger.code, 1, "{stranger:?}");
    assert!(stranger.err.contains("does not know this token"), "{stranger:?}");
    let twin = Sandbox::new().with_token(&one.token()).serve(&["--store", &redis.url()]);
    one.sandbox.ok(&["status", "--base-url", &twin.base_url(), "--token", &one.token()]);
}

#[test]
fn a_fleet_is_a_prefix() {
    let redis = Redis::start(&[]);
    let one = server(&redis, "1");
    let apart = Sandbox::new().with("AGENTIC_REDIS", r#"{"prefix": "other"}"#);
    let apart = apart.serve(&["--store", &redis.url()]);
    one.sandbox.ok(&["submit", "x", "--id", "x"]);
    assert_eq!(apart.sandbox.run(&["show", "x"]).code, 3);
}
