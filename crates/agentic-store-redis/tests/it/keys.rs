//! The keys that stand in a server are those of `docs/reference/redis-keys.md`.

use std::{collections::BTreeSet, path::Path, time::Duration};

use agentic_core::{
    allowance::{AgentAllowance, ModelQuota},
    budget::Budget,
    limit::{Limit, Meter, Scope, Window},
    port::{CancelTask, Defer, ParkLane, ResetUsage, SetBudget, Unpark, Wake},
    task::{NewTask, PendingReason, TaskStatus},
};
use agentic_testkit::{
    Fixture,
    given::{after, assign, dispatched, done, end, figures, finish, id, job, limited, t, task},
};

use crate::server::{Server, connect, options};

const REFERENCE: &str = include_str!("../../../../docs/reference/redis-keys.md");

/// A key, or a kind of them, as the reference has it.
#[derive(Debug)]
struct Kind {
    /// Its name; words in capitals stand for any.
    name: String,
    /// Its type, and when it has a time to live.
    what: String,
    /// Who writes it, and with what it goes.
    by: String,
}

impl Kind {
    /// How much of a key is its name, if it is one of these.
    fn names(&self, key: &str) -> Option<usize> {
        match self.name.find(|c: char| c.is_ascii_uppercase()) {
            None => (self.name == key).then_some(key.len()),
            Some(fixed) => {
                let rest = key.strip_prefix(self.name.get(..fixed)?)?;
                (!rest.is_empty() && rest.contains('#') == self.name.contains('#')).then_some(fixed)
            }
        }
    }

    /// What Redis calls its type.
    fn type_name(&self) -> &str {
        let word = self.what.split([' ', ',']).next().unwrap();
        if word == "number" { "string" } else { word }
    }
}

/// What the reference says.
fn documented() -> Vec<Kind> {
    let rows = REFERENCE.lines().filter(|line| line.starts_with("| `"));
    let kinds = rows.flat_map(|row| {
        let row = row.replace("\\|", "/");
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, names, what, _, writers, goes, _] = cells[..] else { panic!("{row} has not five cells") };
        let (what, by) = (what.to_owned(), format!("{writers} {goes}"));
        quoted(names).map(|name| Kind { name, what: what.clone(), by: by.clone() }).collect::<Vec<_>>()
    });
    kinds.collect()
}

/// What stands in backticks.
fn quoted(text: &str) -> impl Iterator<Item = String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned)
}

/// Does something that leaves every kind of key behind.
async fn fill(fx: &Fixture, server: &Server) {
    let now = t(10);
    let limits = [
        Limit::new(Scope::Agent(id("w")), Meter::Tokens, Window::Day, Some(1_000u32.into())),
        Limit::new(Scope::Model(id("m")), Meter::Requests, Window::HOUR, Some(1_000u32.into())),
    ];
    fx.agent("w").await;
    fx.allowances.set_allowance(AgentAllowance::unlimited(id("w")), now).await.unwrap();
    fx.allowances.set_model_quota(ModelQuota::unlimited(id("m")), now).await.unwrap();
    let budget = Budget::new(Scope::Fleet);
    fx.allowances.set_budget(SetBudget { budget, seen: None, now }).await.unwrap();
    fx.settings.put("key", Some("value".to_owned())).await.unwrap();

    // One ends, and what it did is folded, but for what came later; one runs, and one ran out.
    fx.spent(&job("old", 1), &limits, 5, t(0)).await;
    fx.create(NewTask { idempotency_key: Some("k".to_owned()), ..task("parent") }).await;
    let children = (0..150).map(|number| after(&format!("child-{number}"), &["parent"])).collect();
    fx.create_all(children, now).await;
    fx.create_all(vec![task("runs"), task("put-off"), task("over")], now).await;
    fx.create_all(vec![NewTask { not_before: Some(t(900)), ..task("due") }], now).await;
    let parent = job("parent", 1);
    for job in [&parent, &job("runs", 1)] {
        fx.take(dispatched(limited(assign(job, "w", t(100)), &limits, 10), 1)).await.unwrap();
        fx.ledger
            .beat(agentic_testkit::given::beat("w", &[(job, Some(figures(1, 1)))], t(101)))
            .await
            .unwrap();
    }
    let status = TaskStatus::Cancelled;
    fx.tasks.cancel(CancelTask { task: id("over"), status, reason: String::new(), now }).await.unwrap();
    assert_eq!(fx.load("w", t(102)).await, 2, "the oldest ran out");
    fx.events.trim(t(5), 100).await.unwrap();
    fx.allowances.reset_usage(ResetUsage { agent_id: id("w"), now: t(102) }).await.unwrap();

    let reason = PendingReason { code: "quota".to_owned(), detail: String::new(), retry_at: None };
    let unpark = Unpark { wake: Wake::All, limit: 1 };
    fx.tasks.unpark(unpark).await.unwrap();
    let seen = fx.tasks.lanes(1).await.unwrap().wake;
    let park = agentic_core::lane::Park { reason: reason.clone(), scope: Some(Scope::Fleet), parked_at: now };
    let lane = agentic_core::lane::Lane::default();
    fx.tasks.park(ParkLane { lane, park, seen, events: Vec::new() }).await.unwrap();
    let defer = Defer { task: id("put-off"), attempt: 0, reason, until: t(900), seen: None, now };
    fx.tasks.defer(defer).await.unwrap();

    // A server that dies in the middle leaves dependents to release: this one may not look at them.
    let user = "SETUSER half on nopass ~* &* +@all -lrange";
    server.command("ACL", &user.split(' ').collect::<Vec<_>>()).await;
    let url = server.url.replace("redis://", "redis://half:any@");
    let half = connect(&url, options().prefix("k")).await.ports();
    half.ledger.finish(finish(end(&parent, "w", done(""), t(103)), None)).await.unwrap_err();
}

#[tokio::test]
async fn the_reference_lists_every_key() {
    let server = Server::start(&[]);
    // What has a time to live has it for longer than the test takes.
    let options = options().prefix("k").heartbeat(Duration::from_hours(1));
    let fx = Fixture::new(connect(&server.url, options).await.ports());
    fill(&fx, &server).await;
    let kinds = documented();
    let mut seen = BTreeSet::new();
    let keys = server.command("KEYS", &["*"]).await.into_array();
    for key in keys.into_iter().map(|key| key.into_string().unwrap()) {
        let name = key.strip_prefix("k:").unwrap_or_else(|| panic!("{key} has not the prefix"));
        let kind =
            kinds.iter().filter_map(|kind| Some((kind.names(name)?, kind))).max_by_key(|(fixed, _)| *fixed);
        let (_, kind) = kind.unwrap_or_else(|| panic!("{name} is not in the reference"));
        let real = server.command("TYPE", &[&key]).await.into_string().unwrap();
        assert_eq!(real, kind.type_name(), "the type of {name}");
        if kind.what.starts_with("number") {
            let value = server.command("GET", &[&key]).await.into_string().unwrap();
            assert!(value.parse::<u64>().is_ok(), "{name} is {value}");
        }
        let lives = server.command("PTTL", &[&key]).await.as_i64().unwrap() > 0;
        assert_eq!(lives, kind.what.contains("TTL"), "the time to live of {name}");
        seen.insert(kind.name.clone());
    }
    for Kind { name, .. } in &kinds {
        assert!(seen.contains(name), "no {name} was seen");
    }
}

#[test]
fn the_reference_names_scripts_that_there_are() {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    for kind in documented() {
        for word in quoted(&kind.by) {
            assert!(scripts.join(format!("{word}.lua")).is_file(), "{}: {word} is no script", kind.name);
        }
    }
}
