//! Every case of the suite, through the client and the server, over memory.

use agentic_client::remote_ports;
use agentic_core::memory::Memory;
use agentic_testkit::Fixture;

use crate::world::World;

async fn fixture() -> Fixture {
    let world = World::over(Memory::new().ports(), |server| server.max_clock_skew(None)).await;
    Fixture::new(remote_ports(world.client.clone())).holding(world)
}

agentic_testkit::conformance!(fixture);
