//! Online copies.

use std::fs;

use agentic_core::task::TaskStatus;
use agentic_store_sqlite::{SqliteOptions, SqliteStore};

use crate::world::{World, submit};

#[tokio::test]
async fn a_backup_is_a_store() {
    let world = World::new();
    let store = world.open();
    let ports = store.ports();
    for number in 0..50 {
        submit(&ports, &format!("t{number}")).await.unwrap();
    }
    let target = world.path().with_file_name("copy.db");
    let (copied, more) = tokio::join!(store.backup(&target), submit(&ports, "meanwhile"));
    copied.unwrap();
    more.unwrap();
    let copy = SqliteStore::open(&target, SqliteOptions::new()).unwrap();
    let counted = copy.ports().tasks.counts().await.unwrap()[&TaskStatus::Pending];
    assert!((50..=51).contains(&counted), "{counted}");
    assert_eq!(copy.integrity_check().await.unwrap(), [""; 0]);
    submit(&copy.ports(), "in-the-copy-only").await.unwrap();
}

#[tokio::test]
async fn a_backup_overwrites_nothing() {
    let world = World::new();
    let store = world.open();
    let target = world.path().with_file_name("precious");
    fs::write(&target, "mine").unwrap();
    let error = store.backup(&target).await.unwrap_err();
    assert_eq!(error.code(), "invalid");
    assert_eq!(fs::read_to_string(&target).unwrap(), "mine");
}

#[tokio::test]
async fn damage_is_told() {
    let world = World::new();
    let store = world.open();
    submit(&store.ports(), "a").await.unwrap();
    let raw = world.raw();
    raw.execute_batch("PRAGMA foreign_keys = OFF; DELETE FROM tasks").unwrap();
    let told = store.integrity_check().await.unwrap();
    assert_eq!(told, ["a row of task_texts refers to one that is missing"]);
}
