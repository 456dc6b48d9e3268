//! A fleet on a cluster of three nodes.

use std::time::Duration;

use agentic_core::limit::{Limit, Meter, Scope, Window};
use agentic_store_redis::{RedisStore, Safety};
use agentic_testkit::{
    Fixture,
    given::{assign, beat, create, dispatched, done, end, figures, finish, id, job, limited, t, task},
    lockstep::{Plan, agrees_with_memory},
};

use crate::{
    faults::until_it_is_back,
    server::{Server, connect, options},
};

/// The slots of a cluster.
const SLOTS: u32 = 16_384;

/// Three nodes, and the URL that names them.
async fn cluster() -> (Vec<Server>, String) {
    let nodes: Vec<Server> = (0..3).map(|_| Server::start(&["--cluster-enabled", "yes"])).collect();
    for (index, node) in (0u32..).zip(&nodes) {
        // It answers as soon as it is there.
        node.until("PING", &[], |_| true).await;
        let (from, to) = (index * SLOTS / 3, (index + 1) * SLOTS / 3 - 1);
        node.command("CLUSTER", &["ADDSLOTSRANGE", &from.to_string(), &to.to_string()]).await;
    }
    for node in &nodes[1..] {
        nodes[0].command("CLUSTER", &["MEET", "127.0.0.1", &node.port.to_string()]).await;
    }
    for node in &nodes {
        node.until("CLUSTER", &["INFO"], |info| {
            info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
        })
        .await;
    }
    let rest: Vec<String> = nodes[1..].iter().map(|node| format!("node=127.0.0.1:{}", node.port)).collect();
    let url = format!("redis-cluster://127.0.0.1:{}?{}", nodes[0].port, rest.join("&"));
    (nodes, url)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_lives_in_one_slot() {
    let (nodes, url) = cluster().await;
    // Prefixes that lie on different nodes.
    for prefix in ["a", "b", "c", "d", "e"] {
        let options = options().prefix(prefix);
        let fx = Fixture::new(connect(&url, options.clone()).await.ports());
        let other = connect(&url, options).await.ports();
        let log = other.events.clone();
        let waits = tokio::spawn(async move { log.wait(0, Duration::from_secs(20)).await });
        let limits = [Limit::new(Scope::Agent(id("w")), Meter::Tokens, Window::Day, Some(100u32.into()))];
        fx.agent("w").await;
        fx.create(task("t")).await;
        let job = job("t", 1);
        fx.take(dispatched(limited(assign(&job, "w", t(0)), &limits, 10), 1)).await.unwrap();
        fx.ledger.beat(beat("w", &[(&job, Some(figures(1, 1)))], t(1))).await.unwrap();
        fx.ledger.finish(finish(end(&job, "w", done(""), t(2)), None)).await.unwrap();
        assert!(waits.await.unwrap().unwrap());
        fx.check().await;
    }
    let mut filled = 0;
    for node in &nodes {
        filled += usize::from(node.command("DBSIZE", &[]).await.as_i64().unwrap() > 0);
    }
    assert!(filled > 1, "many fleets spread over the nodes");
}

/// Who still knows the old place of a slot that moved is told, and goes there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_moved_is_followed() {
    let (nodes, url) = cluster().await;
    let fx = Fixture::new(connect(&url, options().prefix("a")).await.ports());
    assert!(fx.tasks.counts().await.unwrap().is_empty());
    let slot = nodes[0].command("CLUSTER", &["KEYSLOT", "{a}:"]).await.as_i64().unwrap();
    let owner = (0..3i64).rev().find(|index| slot >= index * i64::from(SLOTS) / 3).unwrap();
    let (owners, others): (Vec<_>, Vec<_>) = (0..3i64).zip(&nodes).partition(|(index, _)| *index == owner);
    let next = others[0].1;
    let id = next.command("CLUSTER", &["MYID"]).await.into_string().unwrap();
    // Who owns the slot is the first to let go, or it would claim it again.
    for (_, node) in owners.iter().chain(&others) {
        node.command("CLUSTER", &["SETSLOT", &slot.to_string(), "NODE", &id]).await;
    }
    until_it_is_back(&fx, "t").await;
    assert!(next.command("DBSIZE", &[]).await.as_i64().unwrap() > 0, "it lives in the new place");
    fx.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_agrees_with_memory() {
    let (_nodes, url) = cluster().await;
    let plan = Plan { seeds: vec![3], steps: 400 };
    let world = async || Fixture::new(connect(&url, options()).await.ports());
    if let Err(divergence) = agrees_with_memory(&plan, world).await {
        panic!("{divergence}");
    }
}

/// A cluster without all of its slots, as one is that starts, or that lost a node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_is_down_is_away_and_comes_back() {
    let (nodes, url) = cluster().await;
    let fx = Fixture::new(connect(&url, options()).await.ports());
    fx.create(task("before")).await;
    // Who owns the slot is the first to let go, or it would claim it again.
    for node in &nodes {
        node.command("CLUSTER", &["DELSLOTS", "0"]).await;
    }
    for node in &nodes {
        node.until("CLUSTER", &["INFO"], |info| info.contains("cluster_state:fail")).await;
    }
    let refused = fx.tasks.create_many(create(vec![task("refused")], t(0))).await.unwrap_err();
    assert!(refused.is_retryable(), "{refused:?}");
    assert!(refused.to_string().contains("belongs to a cluster that is down"), "{refused}");
    let unopened = RedisStore::connect(&url, options()).await.unwrap_err();
    assert!(unopened.is_retryable(), "{unopened:?}");
    assert!(unopened.to_string().contains("belongs to a cluster that is down"), "{unopened}");
    nodes[0].command("CLUSTER", &["ADDSLOTS", "0"]).await;
    until_it_is_back(&fx, "after").await;
    connect(&url, options()).await;
    assert_eq!(fx.log().await.len(), 2, "nothing was done that was refused");
    fx.check().await;
}

/// Which node the only fleet is on.
async fn home(nodes: &[Server]) -> usize {
    let mut homes = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        if node.command("DBSIZE", &[]).await.as_i64().unwrap() > 0 {
            homes.push(index);
        }
    }
    let [home] = homes[..] else { panic!("{homes:?}") };
    home
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_node_that_is_checked_is_the_one_of_the_fleet() {
    let (nodes, url) = cluster().await;
    let options = options();
    Fixture::new(connect(&url, options.clone()).await.ports()).create(task("t")).await;
    let home = home(&nodes).await;
    for is_safe in [true, false] {
        for (index, node) in nodes.iter().enumerate() {
            let save = if (index == home) == is_safe { "3600 1" } else { "" };
            node.command("CONFIG", &["SET", "save", save]).await;
        }
        for _ in 0..6 {
            let opened = RedisStore::connect(&url, options.clone().safety(Safety::Refuse)).await;
            assert_eq!(opened.is_ok(), is_safe, "{:?}", opened.err());
        }
    }
}

/// Puts a slot between two nodes, as every reshard does.
async fn open_slot(slot: &str, source: &Server, target: &Server) {
    for (node, state, other) in [(target, "IMPORTING", source), (source, "MIGRATING", target)] {
        let other = other.command("CLUSTER", &["MYID"]).await.into_string().unwrap();
        node.command("CLUSTER", &["SETSLOT", slot, state, &other]).await;
    }
}

/// Moves the keys of a slot that is open, and the slot.
async fn move_slot(slot: &str, source: &Server, target: &Server, nodes: &[Server]) {
    let keys = source.command("CLUSTER", &["GETKEYSINSLOT", slot, "10000"]).await.into_array();
    let keys: Vec<String> = keys.into_iter().map(|key| key.into_string().unwrap()).collect();
    let port = target.port.to_string();
    let mut args = vec!["127.0.0.1", &port, "", "0", "60000", "KEYS"];
    args.extend(keys.iter().map(String::as_str));
    source.command("MIGRATE", &args).await;
    let target = target.command("CLUSTER", &["MYID"]).await.into_string().unwrap();
    for node in nodes {
        node.command("CLUSTER", &["SETSLOT", slot, "NODE", &target]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_pauses_while_its_slot_moves_and_goes_on() {
    let (nodes, url) = cluster().await;
    let options = options().command_timeout(Duration::from_secs(30));
    let fx = Fixture::new(connect(&url, options).await.ports());
    fx.create(task("before")).await;
    let log = fx.events.clone();
    let waits = tokio::spawn(async move { log.wait(1, Duration::from_mins(1)).await });
    let home = home(&nodes).await;
    let (source, target) = (&nodes[home], &nodes[(home + 1) % 3]);
    let key = source.command("RANDOMKEY", &[]).await.into_string().unwrap();
    let slot = source.command("CLUSTER", &["KEYSLOT", &key]).await.as_i64().unwrap().to_string();
    // Given up once, and done once. Every connection of the pool hears of it more than once.
    for round in 0..2 {
        open_slot(&slot, source, target).await;
        for call in 0..12 {
            let create = create(vec![task(&format!("refused-{round}-{call}"))], t(0));
            let refused = fx.tasks.create_many(create).await.unwrap_err();
            assert!(refused.is_retryable(), "{refused:?}");
            assert!(refused.to_string().contains("gives its slot to another node"), "{refused}");
        }
        if round == 0 {
            for node in [source, target] {
                node.command("CLUSTER", &["SETSLOT", &slot, "STABLE"]).await;
            }
        } else {
            move_slot(&slot, source, target, &nodes).await;
        }
        until_it_is_back(&fx, &format!("after-{round}")).await;
    }
    assert!(waits.await.unwrap().unwrap(), "who followed the log follows it");
    assert_eq!(fx.log().await.len(), 3, "nothing was done that was refused");
    fx.check().await;
}
