//! `/api/allowances`, `/api/usage` and `/api/models`.

use agentic_core::{
    allowance::{AgentAllowance, ModelQuota, UsageEvent, UsageReport},
    api::{ClaimTask, CreateTask},
    error::{Error, Kind},
    job::EntryKind,
    usage::Directive,
};
use agentic_testkit::given::id;

use crate::world::World;

fn report(tokens: u32, event: UsageEvent) -> UsageReport {
    UsageReport { tokens_in: tokens.into(), ..UsageReport::new(id("a"), id("t"), event) }
}

#[tokio::test]
async fn an_allowance_is_set_read_and_removed() {
    let world = World::start().await;
    let client = &world.client;
    let limited = AgentAllowance { daily_token_limit: 7u32.into(), ..AgentAllowance::unlimited(id("a")) };
    client.set_allowance(&limited).await.unwrap();
    assert_eq!(client.allowance(&id("a")).await.unwrap(), limited);
    let reply = world.call("PUT", "/api/allowances/b", r#"{"concurrent_jobs": 2}"#).await;
    assert_eq!((reply.status, &reply.json()["agent_id"]), (200, &"b".into()), "the path says whose it is");
    let whose: Vec<String> =
        client.allowances().await.unwrap().iter().map(|allowance| allowance.agent_id.to_string()).collect();
    assert_eq!(whose, ["a", "b"]);
    client.delete_allowance(&id("a")).await.unwrap();
    assert_eq!(client.allowance(&id("a")).await, Err(Error::not_found(Kind::Allowance, "a")));
    assert_eq!(client.delete_allowance(&id("a")).await, Err(Error::not_found(Kind::Allowance, "a")));

    let reply = world.call("PUT", "/api/allowances/b", r#"{"agent_id": "c"}"#).await;
    assert_eq!(reply.problem(422, "invalid")["field"], "agent_id");
    let reply = world.call("PUT", "/api/allowances/b", r#"{"daily_tokens": 1}"#).await;
    assert_eq!(reply.problem(422, "invalid")["field"], "daily_tokens");
    let reply = world.call("PUT", "/api/allowances/b", r#"{"concurrent_jobs": -1}"#).await;
    assert_eq!(reply.problem(422, "invalid")["field"], "concurrent_jobs");
    assert_eq!(client.allowance(&id("b")).await.unwrap().concurrent_jobs, 2u32.into());
}

#[tokio::test]
async fn a_quota_is_set_read_and_removed() {
    let world = World::start().await;
    let client = &world.client;
    let quota = ModelQuota { hourly_rate_limit: 3u32.into(), ..ModelQuota::unlimited(id("vendor/m-1")) };
    client.set_model(&quota).await.unwrap();
    let read = client.model(&id("vendor/m-1")).await.unwrap();
    assert!(read.usage.is_some_and(|usage| usage.requests_last_hour.is_zero()));
    assert_eq!(ModelQuota { usage: None, ..read.clone() }, quota);
    let reply = world.call("GET", "/api/models/vendor/m-1", "").await;
    assert_eq!(reply.json()["hourly_rate_limit"], 3, "a slash need not be escaped");
    assert_eq!(client.models().await.unwrap(), [read]);
    client.delete_model(&id("vendor/m-1")).await.unwrap();
    assert_eq!(client.model(&id("vendor/m-1")).await, Err(Error::not_found(Kind::Model, "vendor/m-1")));
    assert!(client.delete_model(&id("vendor/m-1")).await.is_err());
}

#[tokio::test]
async fn usage_is_charged_answered_and_read() {
    let world = World::start().await;
    let client = &world.client;
    let limited = AgentAllowance { daily_token_limit: 100u32.into(), ..AgentAllowance::unlimited(id("a")) };
    client.set_allowance(&limited).await.unwrap();
    client.create_task(&CreateTask { id: "t".to_owned(), ..CreateTask::new("x") }).await.unwrap();
    client.claim_task(&id("t"), &ClaimTask { agent_id: id("a"), lease_secs: None }).await.unwrap();
    let answer = client.report_usage(&report(90, UsageEvent::JobProgress)).await.unwrap();
    assert_eq!((answer.directive, answer.remaining_tokens), (Directive::WrapUp, Some(10u32.into())));
    let answer = client.report_usage(&report(101, UsageEvent::JobProgress)).await.unwrap();
    assert_eq!(answer.directive, Directive::Stop);
    let usage = client.usage(&id("a")).await.unwrap();
    assert_eq!((usage.tokens_used, usage.jobs_started), (101u32.into(), 1u32.into()));
    assert_eq!(usage.period_start.to_string(), "2026-03-01T00:00:00.000Z");
    let status = client.status().await.unwrap();
    assert!(status.agents.is_empty(), "an agent may claim without having registered");
}

#[tokio::test]
async fn a_refusal_says_which_limit_and_until_when() {
    let world = World::start().await;
    let client = &world.client;
    let one = AgentAllowance { daily_job_limit: 1u32.into(), ..AgentAllowance::unlimited(id("a")) };
    client.set_allowance(&one).await.unwrap();
    for task in ["t", "u"] {
        client.create_task(&CreateTask { id: task.to_owned(), ..CreateTask::new("x") }).await.unwrap();
    }
    let claim = r#"{"agent_id": "a"}"#;
    assert_eq!(world.call("POST", "/api/tasks/t/claim", claim).await.status, 200);
    let reply = world.call("POST", "/api/tasks/u/claim", claim).await;
    let problem = reply.problem(429, "refused_by_limit");
    assert_eq!(reply.header("retry-after"), "43200", "until midnight: {problem}");
    assert!(problem["refusal"].is_object());
    world.call("POST", "/api/tasks/t/claim", claim).await.problem(409, "already_claimed");
}

#[tokio::test]
async fn the_ledger_is_read_in_pages_verified_and_reset() {
    let world = World::start().await;
    let client = &world.client;
    client.create_task(&CreateTask { id: "t".into(), ..CreateTask::new("x") }).await.unwrap();
    client.claim_task(&id("t"), &ClaimTask { agent_id: id("a"), lease_secs: None }).await.unwrap();
    client.report_usage(&report(9, UsageEvent::JobProgress)).await.unwrap();
    assert_eq!(client.verify_ledger().await.unwrap(), []);
    let page = client.ledger(&id("a"), None, 1).await.unwrap();
    assert_eq!((page.entries[0].kind, page.entries[0].job.clone()), (EntryKind::Charge, Some(id("t#1"))));
    let last = client.ledger(&id("a"), page.next.as_deref(), 1).await.unwrap();
    assert_eq!((last.entries[0].kind, last.next), (EntryKind::Start, None));
    assert_eq!(client.usage(&id("a")).await.unwrap().tokens_used, 9u32.into());
    let reset = client.reset_usage(&id("a")).await.unwrap();
    assert_eq!((reset.tokens_used, reset.jobs_started), (0u32.into(), 0u32.into()));
    let page = client.ledger(&id("a"), None, 10).await.unwrap();
    assert_eq!((page.entries.len(), page.entries[0].kind), (3, EntryKind::Reset));
    assert_eq!(client.verify_ledger().await.unwrap(), []);
    for (query, field) in
        [("limit=0", "limit"), ("limit=1001", "limit"), ("cursor=x", "cursor"), ("x=1", "x")]
    {
        for path in ["/api/ledger/a?", "/api/ledger?agent=a&"] {
            let reply = world.call("GET", &format!("{path}{query}"), "").await;
            assert_eq!(reply.problem(422, "invalid")["field"], field, "{path}{query}");
        }
    }
    assert_eq!(world.call("GET", "/api/ledger", "").await.problem(422, "invalid")["field"], "agent");
}

#[tokio::test]
async fn an_agent_may_be_called_as_a_route_is() {
    let world = World::start().await;
    let client = &world.client;
    client.create_task(&CreateTask { id: "t".into(), ..CreateTask::new("x") }).await.unwrap();
    client.claim_task(&id("t"), &ClaimTask { agent_id: id("verify"), lease_secs: None }).await.unwrap();
    assert_eq!(client.ledger(&id("verify"), None, 9).await.unwrap().entries[0].kind, EntryKind::Start);
    assert_eq!(client.verify_ledger().await.unwrap(), []);
}
