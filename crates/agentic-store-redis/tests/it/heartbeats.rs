//! Heartbeats of many agents at once, which go in few scripts, and each for itself.

use std::{sync::Arc, time::Duration};

use agentic_core::{
    agent::AgentStatus,
    clock::Timestamp,
    error::{ConflictCode, Error, Kind},
    event::EventType,
    port::{Beat, Heard, Reap},
};
use agentic_testkit::{
    Fixture,
    expect::{conflict, not_found},
    given::{assign, beat, job, t, task},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinSet,
};

use crate::{
    costs::counts,
    server::{Server, connect, options},
};

/// How many agents beat at once: more than one script hears.
const AGENTS: usize = 250;

type Answers = Vec<(String, Result<Heard, Error>)>;

/// Sends all at once; answers them in the order of their agents.
async fn all(fx: &Fixture, beats: impl IntoIterator<Item = Beat>) -> Answers {
    let mut sent = JoinSet::new();
    for beat in beats {
        let ledger = fx.ledger.clone();
        sent.spawn(async move { (beat.agent_id.to_string(), ledger.heartbeat(beat).await) });
    }
    let mut answers = sent.join_all().await;
    answers.sort_by(|(one, _), (other, _)| one.cmp(other));
    answers
}

fn name(number: usize) -> String {
    format!("w{number:03}")
}

#[tokio::test]
async fn those_of_many_agents_share_scripts_and_are_answered_each() {
    let server = Server::start(&[]);
    let fx = Fixture::new(connect(&server.url, options()).await.ports());
    for number in 0..AGENTS {
        fx.agent(&name(number)).await;
    }
    fx.create(task("a")).await;
    fx.take(assign(&job("a", 1), "w007", t(0))).await.unwrap();
    let before = counts(&server).await;
    let stale = Beat { incarnation: Some(9), ..beat("w009", &[], t(9)) };
    // Each at a time of its own, and one agent twice.
    let beats = (0..AGENTS).map(|number| match number {
        9 => stale.clone(),
        _ => beat(&name(number), &[], t(1 + i64::try_from(number % 5).unwrap())),
    });
    let answers = all(&fx, beats.chain([beat("w001", &[], t(30)), beat("x", &[], t(1))])).await;
    let scripts = counts(&server).await.0 - before.0;
    // 252 heartbeats, 25 a script, and some that are not full.
    assert!((11..=30).contains(&scripts), "{scripts} scripts");

    assert_eq!(answers.len(), AGENTS + 2);
    for (agent, answer) in answers {
        match agent.as_str() {
            "x" => not_found(answer, Kind::Agent, "x"),
            "w009" => {
                conflict(answer, ConflictCode::StaleIncarnation);
            }
            _ => {
                let Heard { agent: heard, answers } = answer.unwrap();
                let busy = agent == "w007";
                let status = if busy { AgentStatus::Busy } else { AgentStatus::Available };
                assert_eq!((heard.id.to_string(), heard.status), (agent, status));
                assert_eq!((heard.current_load, answers), (u32::from(busy), Vec::new()));
            }
        }
    }
    for agent in fx.agents.list().await.unwrap() {
        let number: i64 = agent.id.as_str().trim_start_matches('w').parse().unwrap();
        let expected = match number {
            1 => t(30),
            9 => t(0),
            _ => t(1 + number % 5),
        };
        assert_eq!(agent.last_heartbeat, expected, "{}", agent.id);
    }
}

#[tokio::test]
async fn those_that_a_stopped_server_does_not_hear_are_told_so_and_may_be_repeated() {
    let server = Server::start(&[]);
    let options = options();
    let fx = Fixture::new(connect(&server.url, options.clone()).await.ports());
    for number in 0..AGENTS {
        fx.agent(&name(number)).await;
    }
    let hasty = options.command_timeout(Duration::from_millis(300));
    let fx = Fixture::new(connect(&server.url, hasty).await.ports());
    let beats = |secs| (0..AGENTS).map(move |number| beat(&name(number), &[], t(secs)));
    server.signal("STOP");
    let refused = tokio::time::timeout(Duration::from_mins(1), all(&fx, beats(1))).await.unwrap();
    server.signal("CONT");
    for (agent, answer) in refused {
        assert!(answer.as_ref().is_err_and(Error::is_retryable), "{agent}: {answer:?}");
    }
    let mut left: Vec<Beat> = beats(2).collect();
    for _ in 0..2_400 {
        let mut refused = Vec::new();
        for (agent, answer) in all(&fx, left).await {
            match answer {
                Ok(heard) => assert_eq!(heard.agent.last_heartbeat, t(2)),
                Err(error) => {
                    assert!(error.is_retryable(), "{agent}: {error:?}");
                    refused.push(beat(&agent, &[], t(2)));
                }
            }
        }
        left = refused;
        if left.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{} agents are not heard again", left.len());
}

#[tokio::test]
async fn one_that_comes_back_is_told_at_its_own_time_and_one_that_is_broken_harms_no_other() {
    let server = Server::start(&[]);
    let fx = Fixture::new(connect(&server.url, options().prefix("fleet")).await.ports());
    for number in 0..6 {
        fx.agent(&name(number)).await;
    }
    server.command("SET", &["fleet:agent:w003", "{broken"]).await;
    let reap = Reap { ttl: Duration::from_secs(30), limit: 10, now: t(60) };
    assert_eq!(fx.agents.reap(reap).await.unwrap().len(), 5);
    let last = fx.events.last().await.unwrap();
    let beats = (0..6).map(|number| beat(&name(number), &[], t(90 - i64::try_from(number).unwrap())));
    for (agent, answer) in all(&fx, beats).await {
        assert_eq!(answer.is_err(), agent == "w003", "{agent}: {answer:?}");
    }
    let mut told: Vec<(String, Timestamp)> = fx
        .events
        .after(last, 10)
        .await
        .unwrap()
        .events
        .into_iter()
        .filter(|event| event.kind == EventType::AgentOnline)
        .map(|event| (event.agent_id.unwrap().to_string(), event.timestamp))
        .collect();
    told.sort();
    let expected = [0, 1, 2, 4, 5].map(|number| (name(number), t(90 - i64::try_from(number).unwrap())));
    assert_eq!(told, expected);
}

/// Passes connections on to a server, but for the `cut`-th from the moment on that it is told to keep quiet.
async fn half_open(server: &Server, cut: usize, quiet: Arc<Notify>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, server) = (listener.local_addr().unwrap().port(), server.port);
    tokio::spawn(async move {
        for number in 0.. {
            let (mut near, _) = listener.accept().await.unwrap();
            let quiet = Arc::clone(&quiet);
            tokio::spawn(async move {
                let mut far = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                    () = quiet.notified(), if number == cut => std::future::pending().await,
                }
            });
        }
    });
    port
}

#[tokio::test]
async fn a_connection_that_is_cut_off_silences_nobody_but_who_is_on_it() {
    let server = Server::start(&[]);
    // It is up before anybody is passed on to it.
    drop(connect(&server.url, options()).await);
    let quiet = Arc::new(Notify::new());
    let port = half_open(&server, 2, Arc::clone(&quiet)).await;
    let url = format!("redis://127.0.0.1:{port}/0");
    let fx = Fixture::new(connect(&url, options()).await.ports());
    for number in 0..20 {
        fx.agent(&name(number)).await;
    }
    quiet.notify_one();
    let mut heard = 0;
    for number in 0..20 {
        // Who was not heard waits on, while the next one is.
        let ledger = fx.ledger.clone();
        let sent = tokio::spawn(async move { ledger.heartbeat(beat(&name(number), &[], t(1))).await });
        let answer = tokio::time::timeout(Duration::from_secs(2), sent).await;
        heard += usize::from(answer.is_ok_and(|answer| answer.unwrap().is_ok()));
    }
    assert!((10..20).contains(&heard), "{heard} of 20 were heard");
}
