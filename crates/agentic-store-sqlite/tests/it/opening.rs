//! What is opened, and what is refused.

use std::{fs, sync::Barrier};

use agentic_core::{allowance::Price, task::TaskStatus};
use agentic_store_sqlite::{ServeLock, SqliteOptions, SqliteStore, Synchronous};
use agentic_testkit::{
    Fixture,
    given::{done, end, figures, finish, id, n, t},
};

use crate::world::{World, submit};

fn refusal(world: &World) -> String {
    let error = SqliteStore::open(world.path(), SqliteOptions::new()).unwrap_err();
    format!("{}: {error}", error.code())
}

#[tokio::test]
async fn what_was_written_stands_in_the_file() {
    let world = World::new();
    submit(&world.open().ports(), "a").await.unwrap();
    let counts =
        world.open_with(SqliteOptions::new().synchronous(Synchronous::Normal)).ports().tasks.counts().await;
    assert_eq!(counts.unwrap()[&TaskStatus::Pending], 1);
    assert!(!fs::exists(world.path().with_extension("db-wal")).unwrap(), "the last handle cleans up");
}

#[tokio::test]
async fn a_file_of_the_first_schema_is_brought_up_to_date() {
    let world = World::new();
    drop(world.open());
    let owner: i64 = world.raw().pragma_query_value(None, "application_id", |row| row.get(0)).unwrap();
    fs::remove_file(world.path()).unwrap();
    let raw = world.raw();
    raw.execute_batch(include_str!("../../migrations/0001_first.sql")).unwrap();
    raw.pragma_update(None, "application_id", owner).unwrap();
    raw.pragma_update(None, "user_version", 1).unwrap();
    raw.execute_batch("INSERT INTO quotas VALUES ('m', 0, 5, 0, 3, 15, 'priced')").unwrap();
    drop(raw);
    let fx = Fixture::new(world.open().ports());
    let quota = fx.allowances.model_quota(&id("m")).await.unwrap().unwrap();
    assert_eq!((quota.price, quota.price_source), (Some(Price::flat(n(3), n(15))), None));
    let job = fx.running("a", "w").await;
    fx.ledger.finish(finish(end(&job, "w", done("well"), t(1)), Some(figures(1, 1)))).await.unwrap();
    fx.check().await;
}

#[test]
fn a_newer_schema_is_refused() {
    let world = World::new();
    drop(world.open());
    world.raw().pragma_update(None, "user_version", 99).unwrap();
    let said = refusal(&world);
    assert!(said.starts_with("unsupported: schema version 99 of "), "{said}");
}

#[test]
fn another_programs_file_is_refused_and_left_alone() {
    let world = World::new();
    world.raw().execute_batch("CREATE TABLE theirs (x)").unwrap();
    let before = fs::read(world.path()).unwrap();
    let said = refusal(&world);
    assert!(said.starts_with("unsupported: the file ") && said.contains("another program"), "{said}");
    assert_eq!(fs::read(world.path()).unwrap(), before);
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let world = World::new();
    let text = "these are the notes of somebody, and no database at all\n".repeat(100);
    fs::write(world.path(), &text).unwrap();
    assert!(refusal(&world).starts_with("backend: the file "), "{}", refusal(&world));
    assert_eq!(fs::read_to_string(world.path()).unwrap(), text);
}

#[test]
fn a_directory_that_does_not_exist_is_said() {
    let world = World::new();
    let error = SqliteStore::open(world.path().join("no/such"), SqliteOptions::new()).unwrap_err();
    assert!(error.to_string().contains("no/such"), "{error}");
}

#[test]
fn one_new_file_opened_by_many_at_once_is_made_once() {
    for _ in 0..10 {
        let (world, all) = (World::new(), Barrier::new(8));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    all.wait();
                    drop(world.open());
                });
            }
        });
        assert_eq!(world.count("counters"), 3);
    }
}

#[test]
fn a_second_server_is_refused() {
    let world = World::new();
    let first = ServeLock::acquire(world.path()).unwrap();
    let said = ServeLock::acquire(world.path()).unwrap_err().to_string();
    assert!(said.contains("another server") && said.contains("agentic.db.lock"), "{said}");
    drop(first);
    ServeLock::acquire(world.path()).unwrap();
}
