//! The suite through the client and the server, over memory: every case, and random operations in lock step.

use agentic_client::remote_ports;
use agentic_core::memory::Memory;
use agentic_testkit::{
    Fixture,
    lockstep::{Plan, agrees_with_memory},
};

use crate::world::World;

async fn fixture() -> Fixture {
    let world = World::over(Memory::new().ports(), |server| server.max_clock_skew(None)).await;
    Fixture::new(remote_ports(world.client.clone())).holding(world)
}

agentic_testkit::conformance!(fixture);

#[tokio::test]
async fn random_operations_agree_with_memory() {
    let plan = Plan::read(|name| std::env::var(name).ok()).unwrap();
    match agrees_with_memory(&plan, fixture).await {
        Ok(tally) => eprintln!("{tally}"),
        Err(divergence) => panic!("{divergence}"),
    }
}
