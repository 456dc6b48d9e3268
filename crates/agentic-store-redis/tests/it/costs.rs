//! What a transition asks of the server: counts, which do not move with the machine.

use agentic_core::{
    limit::{Limit, Meter, Scope, Window},
    port::StartAttempt,
};
use agentic_testkit::{
    Fixture,
    given::{assign, beat, dispatched, done, end, figures, finish, id, job, limited, t, task},
};

use crate::server::{Server, connect, options};

/// How many scripts the server was asked for, and how many commands they ran.
pub(crate) async fn counts(server: &Server) -> (u64, u64) {
    let stats = server.command("INFO", &["commandstats"]).await.into_string().unwrap();
    let calls = |line: &str| line.split(['=', ',']).nth(1).unwrap().parse::<u64>().unwrap();
    let lines = stats.lines().filter(|line| line.starts_with("cmdstat_"));
    let (scripts, rest): (Vec<&str>, Vec<&str>) =
        lines.partition(|line| line.starts_with("cmdstat_evalsha:"));
    let ours = |line: &&str| {
        !["info", "client|", "hello", "ping", "quit", "select", "script|", "config|"]
            .iter()
            .any(|other| line.starts_with(&format!("cmdstat_{other}")))
    };
    (scripts.into_iter().map(calls).sum(), rest.into_iter().filter(ours).map(calls).sum())
}

/// Every kind of limit that a job can be held against.
fn limits() -> Vec<Limit> {
    let agent = || Scope::Agent(id("w"));
    let model = || Scope::Model(id("m"));
    let large = Some(1_000_000u32.into());
    vec![
        Limit::new(model(), Meter::Requests, Window::HOUR, large),
        Limit::new(Scope::AgentModel(id("w"), id("m")), Meter::Requests, Window::HOUR, None),
        Limit::new(agent(), Meter::Tokens, Window::Day, large),
        Limit::new(agent(), Meter::Jobs, Window::Day, large),
        Limit::new(agent(), Meter::ActiveJobs, Window::Live, large),
        Limit::new(model(), Meter::Tokens, Window::Day, large),
        Limit::new(model(), Meter::Cost, Window::Lifetime, large),
    ]
}

#[tokio::test]
async fn a_task_costs_two_round_trips_and_few_commands() {
    let server = Server::start(&[]);
    let fx = Fixture::new(connect(&server.url, options()).await.ports());
    fx.agent("w").await;
    // The first round loads the scripts and fills what is kept.
    for round in 0..2 {
        let job = job(&format!("t{round}"), 1);
        fx.create(task(job.task.as_str())).await;
        let before = counts(&server).await;
        let mut assign = dispatched(limited(assign(&job, "w", t(0)), &limits(), 10), 1);
        assign.admission.model = Some(id("m"));
        fx.take(assign).await.unwrap();
        let assigned = counts(&server).await;
        let start =
            StartAttempt { job: job.clone(), agent_id: Some(id("w")), incarnation: Some(1), now: t(1) };
        fx.ledger.start(start).await.unwrap();
        let started = counts(&server).await;
        fx.ledger.finish(finish(end(&job, "w", done(""), t(2)), Some(figures(1, 1)))).await.unwrap();
        let finished = counts(&server).await;
        if round == 1 {
            let spent = |after: (u64, u64), before: (u64, u64)| (after.0 - before.0, after.1 - before.1);
            let steps = [spent(assigned, before), spent(started, assigned), spent(finished, started)];
            assert_eq!(steps, [(1, 25), (1, 16), (1, 26)]);
        }
    }
}

#[tokio::test]
async fn a_heartbeat_is_one_round_trip_and_seven_commands() {
    let server = Server::start(&[]);
    let fx = Fixture::new(connect(&server.url, options()).await.ports());
    fx.agent("w").await;
    fx.ledger.heartbeat(beat("w", &[], t(1))).await.unwrap();
    let before = counts(&server).await;
    fx.ledger.heartbeat(beat("w", &[], t(2))).await.unwrap();
    let after = counts(&server).await;
    assert_eq!((after.0 - before.0, after.1 - before.1), (1, 7));
}
