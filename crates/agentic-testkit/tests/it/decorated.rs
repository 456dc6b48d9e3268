//! Every case through decorators that change nothing: they pass on all that a port says.

use agentic_core::memory::Memory;
use agentic_testkit::{
    Fixture,
    counting::Counting,
    faults::{Faults, Faulty},
};

async fn fixture() -> Fixture {
    let (counted, _) = Counting::new(Memory::new().ports());
    let (ports, _) = Faulty::new(counted, Faults::default());
    Fixture::new(ports)
}

agentic_testkit::conformance!(fixture);
