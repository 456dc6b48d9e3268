//! Agents: their starts, heartbeats and silence.

use std::time::Duration;

use agentic_core::{
    agent::{AgentSpec, AgentStatus},
    error::{ConflictCode, Kind},
    event::EventType,
    port::{Reap, Register, SetDraining},
};

use crate::{
    Fixture,
    expect::{conflict, invalid, not_found},
    fixture::at_once,
    given::{heartbeat, id, register, t},
};

const TTL: Duration = Duration::from_secs(30);

fn reap(limit: usize, secs: i64) -> Reap {
    Reap { ttl: TTL, limit, now: t(secs) }
}

async fn kinds(fx: &Fixture) -> Vec<EventType> {
    fx.log().await.iter().map(|event| event.kind).collect()
}

/// Registering again replaces what an agent said of itself, under its next incarnation, and keeps its first day.
pub async fn register_is_an_upsert(fx: &Fixture) {
    let spec = AgentSpec {
        id: id("w"),
        name: "Ada's <b>\u{1b}[1m".to_owned(),
        capabilities: [id("rust"), id("a/b")].into(),
        models: vec![id("z"), id("vendor/m"), id("b")],
        max_load: 3,
    };
    let first = fx.agents.register(Register { agent: spec.clone(), now: t(0) }).await.unwrap();
    assert_eq!((&first.name, &first.capabilities), (&spec.name, &spec.capabilities));
    assert_eq!((&first.models, first.max_load), (&spec.models, 3), "models keep their order");
    assert_eq!((first.incarnation, first.registered_at, first.last_heartbeat), (1, t(0), t(0)));
    assert_eq!((first.status, first.draining, first.current_load), (AgentStatus::Available, false, 0));
    assert_eq!(fx.agents.get(&id("w")).await.unwrap(), first);
    let second = fx.agents.register(register("w", t(9))).await.unwrap();
    assert_eq!((second.incarnation, second.registered_at, second.last_heartbeat), (2, t(0), t(9)));
    assert!(second.capabilities.is_empty() && second.models.is_empty() && second.max_load == 0);
    assert_eq!(fx.agents.list().await.unwrap(), [second]);
    assert_eq!(kinds(fx).await, [EventType::AgentRegistered; 2]);
}

/// No two starts of an agent have the same incarnation, not even over a deregistration or when they race.
pub async fn incarnations_never_repeat(fx: &Fixture) {
    assert_eq!(fx.agent("w").await.incarnation, 1);
    fx.agents.deregister(&id("w"), t(1)).await.unwrap();
    let back = fx.agents.register(register("w", t(2))).await.unwrap();
    assert_eq!(back.incarnation, 2);
    let mut raced = at_once(16, |_| {
        let agents = fx.agents.clone();
        async move { agents.register(register("w", t(3))).await.unwrap().incarnation }
    })
    .await;
    raced.sort_unstable();
    assert_eq!(raced, (3..=18).collect::<Vec<u64>>());
}

/// An offline agent that is heard of is available again, and told once.
pub async fn heartbeat_brings_back(fx: &Fixture) {
    fx.agent("w").await;
    fx.agents.reap(reap(10, 31)).await.unwrap();
    assert_eq!(fx.agents.get(&id("w")).await.unwrap().status, AgentStatus::Offline);
    for secs in [40, 41] {
        let agent = fx.agents.heartbeat(heartbeat("w", None, t(secs))).await.unwrap();
        assert_eq!(
            (agent.status, agent.last_heartbeat, agent.incarnation),
            (AgentStatus::Available, t(secs), 1)
        );
    }
    let told = [EventType::AgentRegistered, EventType::AgentOffline, EventType::AgentOnline];
    assert_eq!(kinds(fx).await, told);
    not_found(fx.agents.heartbeat(heartbeat("x", None, t(1))).await, Kind::Agent, "x");
}

/// An older start of an agent is refused, and does not keep the agent alive; so is one that was made up.
pub async fn an_older_incarnation_is_refused(fx: &Fixture) {
    fx.agent("w").await;
    let newer = fx.agents.register(register("w", t(1))).await.unwrap();
    for wrong in [1, 3] {
        let answer = fx.agents.heartbeat(heartbeat("w", Some(wrong), t(20))).await;
        conflict(answer, ConflictCode::StaleIncarnation);
    }
    assert_eq!(fx.agents.get(&id("w")).await.unwrap(), newer);
    let beat = fx.agents.heartbeat(heartbeat("w", Some(2), t(20))).await.unwrap();
    assert_eq!(beat.last_heartbeat, t(20));
}

/// Who was silent for longer than the TTL goes offline; who was for exactly the TTL does not.
pub async fn reap_marks_the_silent(fx: &Fixture) {
    for (name, secs) in [("late", 0), ("edge", 10), ("alive", 20), ("early", -5)] {
        fx.agents.register(register(name, t(secs))).await.unwrap();
    }
    assert_eq!(fx.agents.reap(reap(10, 40)).await.unwrap(), [id("early"), id("late")]);
    assert!(fx.agents.reap(reap(10, 40)).await.unwrap().is_empty(), "once");
    let status = |agents: Vec<agentic_core::agent::AgentInfo>| {
        agents.into_iter().map(|agent| (agent.id.to_string(), agent.status)).collect::<Vec<_>>()
    };
    let expected = [
        ("alive".to_owned(), AgentStatus::Available),
        ("early".to_owned(), AgentStatus::Offline),
        ("edge".to_owned(), AgentStatus::Available),
        ("late".to_owned(), AgentStatus::Offline),
    ];
    assert_eq!(status(fx.agents.list().await.unwrap()), expected, "never forgotten, ascending by id");
    assert_eq!(fx.count(EventType::AgentOffline).await, 2);
}

/// A reaping step is bounded, and takes the ids in order.
pub async fn a_reaping_is_bounded(fx: &Fixture) {
    for name in ["c", "a", "b"] {
        fx.agent(name).await;
    }
    assert_eq!(fx.agents.reap(reap(2, 99)).await.unwrap(), [id("a"), id("b")]);
    assert_eq!(fx.agents.reap(reap(2, 99)).await.unwrap(), [id("c")]);
}

/// A removed agent is gone until it registers again, as who it was.
pub async fn a_deregistered_agent_is_gone(fx: &Fixture) {
    fx.agent("w").await;
    fx.agents.deregister(&id("w"), t(1)).await.unwrap();
    not_found(fx.agents.get(&id("w")).await, Kind::Agent, "w");
    not_found(fx.agents.heartbeat(heartbeat("w", None, t(2))).await, Kind::Agent, "w");
    not_found(fx.agents.deregister(&id("w"), t(2)).await, Kind::Agent, "w");
    let drain = SetDraining { agent_id: id("w"), draining: true, now: t(2) };
    not_found(fx.agents.set_draining(drain).await, Kind::Agent, "w");
    assert!(fx.agents.list().await.unwrap().is_empty());
    assert!(fx.agents.reap(reap(10, 999)).await.unwrap().is_empty());
    assert_eq!(kinds(fx).await, [EventType::AgentRegistered, EventType::AgentDeregistered]);
    let back = fx.agents.register(register("w", t(3))).await.unwrap();
    assert_eq!((back.registered_at, back.status), (t(0), AgentStatus::Available));
}

/// Draining lasts over heartbeats and ends with the next start.
pub async fn draining_ends_with_the_next_start(fx: &Fixture) {
    fx.agent("w").await;
    let set = |draining: bool| SetDraining { agent_id: id("w"), draining, now: t(1) };
    assert!(fx.agents.set_draining(set(true)).await.unwrap().draining);
    assert!(fx.agents.set_draining(set(true)).await.unwrap().draining, "idempotent");
    assert!(fx.agents.heartbeat(heartbeat("w", None, t(2))).await.unwrap().draining);
    assert!(!fx.agents.set_draining(set(false)).await.unwrap().draining);
    fx.agents.set_draining(set(true)).await.unwrap();
    assert!(!fx.agents.register(register("w", t(3))).await.unwrap().draining);
}

/// A heartbeat that comes late never makes an agent look older.
pub async fn a_heartbeat_never_goes_back(fx: &Fixture) {
    fx.agent("w").await;
    fx.agents.heartbeat(heartbeat("w", None, t(20))).await.unwrap();
    let late = fx.agents.heartbeat(heartbeat("w", None, t(10))).await.unwrap();
    assert_eq!(late.last_heartbeat, t(20));
}

/// What breaks a bound is refused by name; an agent without a name goes by its id.
pub async fn an_agent_keeps_the_bounds(fx: &Fixture) {
    let many = |count: usize| (0..count).map(|i| format!("x{i}")).collect::<Vec<_>>();
    let spec = || AgentSpec::new(id("w"));
    let bad = [
        ("name", AgentSpec { name: "n".repeat(201), ..spec() }),
        ("name", AgentSpec { name: "a\0".to_owned(), ..spec() }),
        ("capabilities", AgentSpec { capabilities: many(65).iter().map(|x| id(x)).collect(), ..spec() }),
        ("models", AgentSpec { models: many(65).iter().map(|x| id(x)).collect(), ..spec() }),
    ];
    for (field, agent) in bad {
        invalid(fx.agents.register(Register { agent, now: t(0) }).await, field);
    }
    not_found(fx.agents.get(&id("w")).await, Kind::Agent, "w");
    let nameless = AgentSpec { name: String::new(), ..spec() };
    assert_eq!(fx.agents.register(Register { agent: nameless, now: t(0) }).await.unwrap().name, "w");
}
