//! What the Redis back end promises beyond the ports.

use std::time::Duration;

use agentic_core::{
    amount::Amount,
    clock::Timestamp,
    error::Error,
    limit::{Limit, Meter, Scope, Window},
    port::{CreateMany, ExpiredJobs},
    task::{NewTask, TaskStatus},
};
use agentic_store_redis::{RedisStore, Safety};
use agentic_testkit::{
    Fixture,
    fixture::at_once,
    given::{
        after, asking, assign, beat, dispatched, done, end, figures, finish, heartbeat, id, job, limited, t,
        task,
    },
};

use crate::server::{Server, connect, options};

/// Longer than anything that these tests wait for.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn calls_of(server: &Server, command: &str) -> u64 {
    let stats = server.command("INFO", &["commandstats"]).await.into_string().unwrap();
    let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.and_then(|rest| rest.split(',').next()?.parse().ok()).unwrap_or(0)
}

#[tokio::test]
async fn a_transition_is_one_round_trip() {
    let server = Server::start(&[]);
    let fx = Fixture::new(connect(&server.url, options()).await.ports());
    let limits = [Limit::new(Scope::Agent(id("w")), Meter::Tokens, Window::Day, Some(1_000u32.into()))];
    fx.agent("w").await;
    for round in 0..2 {
        let job = job(&format!("t{round}"), 1);
        fx.create(task(job.task.as_str())).await;
        let before = calls_of(&server, "evalsha").await;
        fx.take(dispatched(limited(assign(&job, "w", t(0)), &limits, 10), 1)).await.unwrap();
        fx.ledger.beat(beat("w", &[(&job, Some(figures(1, 1)))], t(1))).await.unwrap();
        fx.ledger.finish(finish(end(&job, "w", done(""), t(2)), None)).await.unwrap();
        // The first of each loads its script.
        let calls = calls_of(&server, "evalsha").await - before;
        assert_eq!(calls, if round == 0 { 6 } else { 3 });
    }
}

#[tokio::test]
async fn an_event_of_one_server_wakes_who_waits_on_another() {
    let server = Server::start(&[]);
    let options = options();
    let one = connect(&server.url, options.clone()).await.ports();
    let other = Fixture::new(connect(&server.url, options).await.ports());
    for round in 0..3 {
        let log = one.events.clone();
        let cursor = log.last().await.unwrap();
        let waits = tokio::spawn(async move { log.wait(cursor, PATIENCE).await });
        other.create(task(&format!("t{round}"))).await;
        assert!(waits.await.unwrap().unwrap());
    }
    assert_eq!(one.events.after(0, 10).await.unwrap().events, other.log().await);
}

#[tokio::test]
async fn an_agent_is_json_and_outlives_its_sign_of_life() {
    let server = Server::start(&[]);
    let options = options().prefix("agentic").heartbeat(Duration::from_secs(400));
    let fx = Fixture::new(connect(&server.url, options).await.ports());
    let registered = fx.agent("w.1").await;
    let left = server.command("PTTL", &["agentic:alive:w.1"]).await.as_i64().unwrap();
    assert!((1_000_000..=1_200_000).contains(&left), "{left}");
    let json = server.command("GET", &["agentic:agent:w.1"]).await.into_string().unwrap();
    assert_eq!(serde_json::from_str::<agentic_core::agent::AgentInfo>(&json).unwrap(), registered);
    server.command("DEL", &["agentic:alive:w.1"]).await;
    assert_eq!(fx.agents.list().await.unwrap(), [registered]);
    fx.agents.heartbeat(heartbeat("w.1", Some(1), t(1))).await.unwrap();
    assert_eq!(server.command("EXISTS", &["agentic:alive:w.1"]).await.as_i64(), Some(1));
}

#[tokio::test]
async fn an_unsafe_server_is_refused() {
    let evicts = Server::start(&["--maxmemory-policy", "allkeys-lru", "--appendonly", "yes"]);
    let forgets = Server::start(&[]);
    let safe = Server::start(&["--appendonly", "yes"]);
    for server in [&evicts, &forgets, &safe] {
        connect(&server.url, options()).await;
    }
    let strict = || options().safety(Safety::Refuse);
    for (server, word) in [(&evicts, "allkeys-lru"), (&forgets, "appendonly")] {
        match RedisStore::connect(&server.url, strict()).await {
            Err(Error::Unsupported { what }) => assert!(what.contains(word), "{what}"),
            other => panic!("{other:?}"),
        }
    }
    assert!(RedisStore::connect(&safe.url, strict()).await.is_ok());
}

#[tokio::test]
async fn what_is_no_server_is_told() {
    for wrong in ["http://127.0.0.1:1", "redis", "redis://"] {
        assert_eq!(RedisStore::connect(wrong, options()).await.unwrap_err().code(), "invalid", "{wrong}");
    }
    let away = options().connect_timeout(Duration::from_millis(500));
    let away = RedisStore::connect("redis://127.0.0.1:1/0", away).await.unwrap_err();
    assert!(away.is_retryable(), "{away:?}");
}

/// Numbers at the edges of their types come back as they were.
#[tokio::test]
async fn extremes_are_exact() {
    let server = Server::start(&[]);
    let fx = Fixture::new(connect(&server.url, options()).await.ports());
    for (name, now) in [("first", Timestamp::MIN), ("last", Timestamp::MAX)] {
        let new = NewTask {
            not_before: Some(Timestamp::MAX),
            estimated_tokens: Amount::MAX,
            ..NewTask::new(id(name), "x")
        };
        let made =
            fx.tasks.create_many(CreateMany::new(vec![new.clone()], now)).await.unwrap().remove(0).task;
        assert_eq!((made.created_at, made.not_before), (now, Some(Timestamp::MAX)));
        assert_eq!(made.estimated_tokens, Amount::MAX);
    }
    assert_eq!(fx.tasks.next_due().await.unwrap(), Some(Timestamp::MAX));
    let tokens = Limit::new(Scope::Fleet, Meter::Tokens, Window::Lifetime, Some(Amount::MAX));
    let mut admission =
        asking(agentic_testkit::given::admission(&job("a", 1), "w", t(0)), std::slice::from_ref(&tokens), 0);
    admission.ask = Amount::try_new(Amount::MAX.get() - 2).unwrap();
    fx.allowances.admit(admission.clone()).await.unwrap();
    assert_eq!(fx.used(&tokens, t(1)).await, (0, Amount::MAX.get() - 2));
    let next = |number: u32, ask: u64| {
        let mut next = admission.clone();
        next.job = job("b", number);
        next.ask = Amount::try_new(ask).unwrap();
        next
    };
    assert!(fx.allowances.admit(next(1, 3)).await.is_err(), "one too many");
    fx.allowances.admit(next(2, 2)).await.unwrap();
    assert_eq!(fx.used(&tokens, t(1)).await, (0, Amount::MAX.get()));
    fx.check().await;
}

/// More reservations than one step sees run out do not count any more all the same, and live on where they did not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_reservations_run_out_at_once() {
    let server = Server::start(&[]);
    let fx = Fixture::new(connect(&server.url, options()).await.ports());
    let places = Limit::new(Scope::Agent(id("w")), Meter::ActiveJobs, Window::Live, Some(1_200u32.into()));
    at_once(4, |part| {
        let (store, places) = (fx.allowances.clone(), places.clone());
        async move {
            for number in 0..300 {
                let admission =
                    agentic_testkit::given::admission(&job(&format!("t{part}"), number), "w", t(0));
                store.admit(asking(admission, std::slice::from_ref(&places), 5)).await.unwrap();
            }
        }
    })
    .await;
    assert_eq!(fx.load("w", t(59)).await, 1_200);
    assert_eq!(fx.load("w", t(60)).await, 0);
    assert_eq!(fx.load("w", t(59)).await, 1_200, "a clock that is behind");
    let fresh = agentic_testkit::given::admission(&job("u", 1), "w", t(61));
    fx.allowances.admit(asking(fresh, &[places], 5)).await.unwrap();
    assert_eq!(fx.load("w", t(61)).await, 1);
    let expired = fx.allowances.expired(ExpiredJobs { limit: 2_000, now: t(61) }).await.unwrap();
    assert_eq!(expired.len(), 1_200);
}

/// Trimming folds the ledger: the meters still are the sum of it, and what no window counts any more is forgotten.
#[tokio::test]
async fn the_ledger_is_folded_and_still_adds_up() {
    let server = Server::start(&[]);
    let fx = Fixture::new(connect(&server.url, options().prefix("f")).await.ports());
    let limits = [
        Limit::new(Scope::Agent(id("w")), Meter::Tokens, Window::Day, Some(100u32.into())),
        Limit::new(Scope::Model(id("m")), Meter::Requests, Window::HOUR, Some(100u32.into())),
        Limit::new(Scope::Model(id("m")), Meter::Tokens, Window::Lifetime, Some(100u32.into())),
    ];
    let day = 86_400;
    fx.spent(&job("a", 1), &limits, 30, t(0)).await;
    fx.spent(&job("b", 1), &limits, 20, t(day)).await;
    assert_eq!(fx.used(&limits[1], t(day)).await, (1, 0));
    let fields = async |key: &str| server.command("HLEN", &[key]).await.as_i64().unwrap();
    assert_eq!(fields("f:meters").await, 5);
    fx.events.trim(t(day - 1), 100).await.unwrap();
    fx.check().await;
    assert_eq!((fields("f:meters").await, fields("f:opening").await), (3, 1));
    for (limit, used) in limits.iter().zip([20, 1, 50]) {
        assert_eq!(fx.used(limit, t(day)).await, (used, 0), "{}", limit.key);
    }
    fx.events.trim(t(3 * day), 100).await.unwrap();
    fx.check().await;
    assert_eq!(server.command("XLEN", &["f:entries"]).await.as_i64(), Some(0));
    for (limit, used) in limits.iter().zip([0, 0, 50]) {
        assert_eq!(fx.used(limit, t(3 * day)).await, (used, 0), "{}", limit.key);
    }
}

/// A user who may touch nothing but the fleet, and nothing dangerous, is enough.
#[tokio::test]
async fn a_narrow_user_is_enough() {
    let server = Server::start(&["--appendonly", "yes"]);
    let user = "SETUSER fleet on >secret ~agentic:* &* +@all -@dangerous +info +config|get";
    server.until("PING", &[], |_| true).await;
    server.command("ACL", &user.split(' ').collect::<Vec<_>>()).await;
    let url = format!("redis://fleet:secret@127.0.0.1:{}/1", server.port);
    let fx = Fixture::new(connect(&url, options().prefix("agentic").safety(Safety::Refuse)).await.ports());
    let job = fx.running("t", "w").await;
    fx.ledger.finish(finish(end(&job, "w", done(""), t(2)), None)).await.unwrap();
    assert!(fx.events.wait(0, PATIENCE).await.unwrap());
    fx.check().await;
    let other = connect(&url, options().safety(Safety::Warn)).await.ports();
    assert_eq!(other.tasks.counts().await.unwrap_err().code(), "backend", "another fleet's keys");
    let wrong = url.replace("secret", "guess");
    assert!(RedisStore::connect(&wrong, options()).await.is_err());
}

/// A store that nobody holds any more leaves no connection behind, not even the one that waited on the log.
#[tokio::test]
async fn a_dropped_store_closes_its_connections() {
    let server = Server::start(&[]);
    let store = connect(&server.url, options()).await;
    let ports = store.ports();
    ports.events.wait(0, Duration::from_millis(20)).await.unwrap();
    drop((store, ports));
    // The one that asks is the only one.
    server.until("CLIENT", &["LIST"], |list| list.lines().count() == 1).await;
}

#[tokio::test]
async fn what_a_completion_left_is_released_by_a_pruning_at_its_own_time() {
    let server = Server::start(&[]);
    let fx = Fixture::new(connect(&server.url, options().prefix("agentic")).await.ports());
    fx.create(task("a")).await;
    fx.create(after("b", &["a"])).await;
    // As a server that died after the step that completed the other one left it.
    server.command("RPUSH", &["agentic:releases", "b"]).await;
    assert_eq!(fx.tasks.prune(t(1), 10, t(50)).await.unwrap(), 0);
    let released = fx.task("b", t(50)).await;
    assert_eq!((released.status, released.updated_at), (TaskStatus::Pending, t(50)));
}
