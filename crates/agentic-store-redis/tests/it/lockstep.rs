//! Random operations on Redis and memory in lock step.

use agentic_testkit::lockstep::{Plan, agrees_with_memory};

use crate::server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_agrees_with_memory() {
    let plan = Plan::read(|name| std::env::var(name).ok()).unwrap();
    match agrees_with_memory(&plan, async || server::world().await).await {
        Ok(tally) => eprintln!("{tally}"),
        Err(divergence) => panic!("{divergence}"),
    }
}
