//! The saga keeps every promise of a ledger: the conformance suite over ports that it takes to be apart.

use std::sync::Arc;

use agentic_core::{memory::Memory, port::Ports};
use agentic_dispatch::Saga;
use agentic_testkit::Fixture;

async fn fixture() -> Fixture {
    let ports = Memory::new().ports();
    Fixture::new(Ports { ledger: Arc::new(Saga::new(ports.clone())), ..ports })
}

agentic_testkit::conformance!(fixture);
