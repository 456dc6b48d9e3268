//! Every case on the memory back end.

use agentic_core::memory::Memory;
use agentic_testkit::Fixture;

async fn fixture() -> Fixture {
    Fixture::new(Memory::new().ports())
}

agentic_testkit::conformance!(fixture);
