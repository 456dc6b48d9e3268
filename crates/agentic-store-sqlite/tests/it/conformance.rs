//! Every case of the conformance suite, each on a file of its own.

use agentic_store_sqlite::{SqliteOptions, SqliteStore};
use agentic_testkit::Fixture;

pub(crate) async fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(dir.path().join("agentic.db"), SqliteOptions::new()).unwrap();
    Fixture::new(store.ports()).holding((store, dir))
}

agentic_testkit::conformance!(fixture);
