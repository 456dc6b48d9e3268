//! Emitters drop, count and fan out, and are fed from the log.

use std::sync::Arc;

use agentic_core::{
    clock::Timestamp,
    event::{Event, EventType, NewEvent},
};
use agentic_dispatch::{ChannelEmitter, EventEmitter, MultiEmitter, feed};
use tokio_util::sync::CancellationToken;

use crate::world::{World, titled};

fn event(id: u64) -> Event {
    NewEvent::new(EventType::TaskCreated, Timestamp::EPOCH).numbered(id)
}

#[tokio::test]
async fn a_full_channel_drops_and_counts() {
    let (emitter, mut events) = ChannelEmitter::new(2);
    for id in 1..=5 {
        assert_eq!(emitter.emit(&event(id)).await.is_ok(), id <= 2);
    }
    assert_eq!(emitter.dropped(), 3);
    assert_eq!([events.recv().await.unwrap().id, events.recv().await.unwrap().id], [1, 2]);
    emitter.emit(&event(6)).await.unwrap();
    assert_eq!(events.recv().await.unwrap().id, 6);
}

#[tokio::test]
async fn a_failing_member_does_not_stop_the_others() {
    let (full, _kept) = ChannelEmitter::new(1);
    full.emit(&event(1)).await.unwrap();
    let (open, mut events) = ChannelEmitter::new(1);
    let multi = MultiEmitter::new(vec![Arc::clone(&full) as Arc<dyn EventEmitter>, open]);
    assert!(multi.emit(&event(2)).await.is_err());
    assert_eq!(events.recv().await.unwrap().id, 2);
    assert_eq!(full.dropped(), 1);
}

#[tokio::test]
async fn what_was_committed_is_fed_in_order() {
    let world = World::new();
    let (emitter, mut events) = ChannelEmitter::new(100);
    let stop = CancellationToken::new();
    let log = Arc::clone(&world.fleet.ports().events);
    let feeding = tokio::spawn(feed(log, emitter, 0, stop.clone()));
    world.agent("a", &[], 0).await;
    world.submit(titled("x")).await;
    world.dispatcher.tick().await.unwrap();
    let mut kinds = Vec::new();
    for _ in 0..4 {
        kinds.push(events.recv().await.unwrap().kind);
    }
    stop.cancel();
    feeding.await.unwrap();
    assert_eq!(
        kinds,
        [
            EventType::AgentRegistered,
            EventType::TaskCreated,
            EventType::TaskClaimed,
            EventType::TaskDispatched,
        ]
    );
}
