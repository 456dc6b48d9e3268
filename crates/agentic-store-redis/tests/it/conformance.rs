//! Every case of the conformance suite, each under a prefix of its own.

use agentic_testkit::Fixture;

use crate::server;

async fn fixture() -> Fixture {
    server::world().await
}

agentic_testkit::conformance!(fixture);
