//! The log: numbered in commit order, resumable, trimmed.

use std::time::Duration;

use agentic_core::{
    error::ConflictCode,
    event::{EventType, NewEvent},
    port::{Append, Mark},
};
use serde_json::json;

use crate::{
    Fixture,
    expect::conflict,
    fixture::at_once,
    given::{create, id, t, task},
};

fn event(n: usize) -> NewEvent {
    NewEvent::new(EventType::LimitsChanged, t(0)).payload(json!({ "n": n }))
}

/// Longer than anything that these cases wait for; only a broken log lets it pass.
const PATIENCE: Duration = Duration::from_secs(20);

/// While sixteen writers append, a reader that follows its cursor sees every event once, in ascending order.
pub async fn a_cursor_skips_nothing(fx: &Fixture) {
    let log = fx.events.clone();
    let reader = tokio::spawn(async move {
        let (mut seen, mut cursor) = (Vec::new(), 0);
        while seen.len() < 16 * 20 * 2 {
            assert!(log.wait(cursor, PATIENCE).await.unwrap(), "only {} events came", seen.len());
            let page = log.after(cursor, 7).await.unwrap();
            assert_eq!(page.cursor, page.events.last().map_or(cursor, |event| event.id));
            cursor = page.cursor;
            seen.extend(page.events);
        }
        seen
    });
    at_once(16, |i| {
        let (events, tasks) = (fx.events.clone(), fx.tasks.clone());
        async move {
            for j in 0..20 {
                events.append(vec![event(i * 20 + j)].into()).await.unwrap();
                let batch = create(vec![task(&format!("t{}", i * 20 + j))], t(0));
                tasks.create_many(batch).await.unwrap();
            }
        }
    })
    .await;
    let seen = reader.await.unwrap();
    assert!(seen.windows(2).all(|pair| pair[0].id < pair[1].id), "ids ascend");
    let count = |kind: EventType| seen.iter().filter(|event| event.kind == kind).count();
    assert_eq!((count(EventType::LimitsChanged), count(EventType::TaskCreated)), (320, 320));
    assert_eq!(seen, fx.log().await);
}

/// Appended events stand together, in the order given, as they were.
pub async fn what_is_appended_is_read(fx: &Fixture) {
    assert_eq!(fx.events.last().await.unwrap(), 0);
    let full = event(2).task(&id("no-such-task")).agent(&id("nor-agent"));
    fx.events
        .append(vec![event(1), full.clone(), NewEvent::new(EventType::AgentOnline, t(3))].into())
        .await
        .unwrap();
    let read = fx.log().await;
    assert_eq!(read.iter().map(|event| event.id).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(read[1], full.numbered(2));
    assert_eq!((read[2].kind, read[2].timestamp, &read[2].payload), (EventType::AgentOnline, t(3), &None));
    assert_eq!(fx.events.last().await.unwrap(), 3);
    fx.events.append(Append::default()).await.unwrap();
    assert_eq!(fx.events.last().await.unwrap(), 3);
}

fn marked(events: Vec<NewEvent>, from: Option<&str>, to: &str) -> Append {
    let mark = Mark { key: "handed.on".to_owned(), from: from.map(str::to_owned), to: to.to_owned() };
    Append { events, mark: Some(mark) }
}

/// What is appended with a mark moves it, and is not appended where the mark is not what was believed.
pub async fn an_append_moves_its_mark(fx: &Fixture) {
    let mark = async || fx.settings.get("handed.on").await.unwrap();
    fx.events.append(marked(vec![event(1), event(2)], None, "")).await.unwrap();
    assert_eq!((mark().await.as_deref(), fx.events.last().await.unwrap()), (Some(""), 2));
    for wrong in [None, Some("2"), Some("=")] {
        let again = fx.events.append(marked(vec![event(3)], wrong, "3")).await;
        conflict(again, ConflictCode::MarkMoved);
    }
    assert_eq!((mark().await.as_deref(), fx.events.last().await.unwrap()), (Some(""), 2));
    fx.events.append(marked(vec![event(3)], Some(""), "=3")).await.unwrap();
    fx.events.append(marked(Vec::new(), Some("=3"), "4")).await.unwrap();
    assert_eq!((mark().await.as_deref(), fx.log().await.len()), (Some("4"), 3));
    fx.settings.put("handed.on", None).await.unwrap();
    conflict(fx.events.append(marked(Vec::new(), Some("4"), "5")).await, ConflictCode::MarkMoved);
    fx.events.append(marked(Vec::new(), None, "5")).await.unwrap();
    assert_eq!(mark().await.as_deref(), Some("5"));
}

/// Of sixteen who append the same part of another log, one does.
pub async fn a_mark_raced_for_moves_once(fx: &Fixture) {
    for round in 0..5 {
        let from = (round > 0).then(|| round.to_string());
        let done = at_once(16, |_| {
            let (events, from) = (fx.events.clone(), from.clone());
            async move {
                let part = marked(vec![event(0), event(1)], from.as_deref(), &(round + 1).to_string());
                events.append(part).await.is_ok()
            }
        })
        .await;
        assert_eq!(done.into_iter().filter(|done| *done).count(), 1);
    }
    assert_eq!(fx.count(EventType::LimitsChanged).await, 10);
}

/// A page holds at most as many events as asked for; an empty one keeps the cursor.
pub async fn a_page_of_events_is_bounded(fx: &Fixture) {
    fx.events.append((0..5).map(event).collect::<Vec<_>>().into()).await.unwrap();
    let page = fx.events.after(1, 2).await.unwrap();
    assert_eq!((page.events.len(), page.events[0].id, page.cursor), (2, 2, 3));
    let end = fx.events.after(5, 2).await.unwrap();
    assert_eq!((end.events.len(), end.cursor), (0, 5));
}

/// Old events are trimmed by age, oldest first and at most as many as asked for; numbers never come back.
pub async fn a_trim_is_by_age_and_bounded(fx: &Fixture) {
    for (n, secs) in [(1, 1), (2, 2), (3, 3), (4, 4)] {
        fx.events.append(vec![NewEvent { timestamp: t(secs), ..event(n) }].into()).await.unwrap();
    }
    assert_eq!(fx.events.trim(t(1), 10).await.unwrap(), 0, "from before, not at");
    assert_eq!(fx.events.trim(t(4), 2).await.unwrap(), 2);
    assert_eq!(fx.events.trim(t(4), 10).await.unwrap(), 1);
    assert_eq!(fx.events.trim(t(4), 10).await.unwrap(), 0);
    assert_eq!(fx.events.trim(t(9), 10).await.unwrap(), 1);
    assert_eq!(fx.events.last().await.unwrap(), 4);
    fx.events.append(vec![event(5)].into()).await.unwrap();
    let page = fx.events.after(4, 10).await.unwrap();
    assert_eq!((page.events[0].id, page.cursor), (5, 5));
}

/// A cursor from before what was trimmed is told so; one at its edge goes on.
pub async fn a_trimmed_cursor_is_told(fx: &Fixture) {
    for secs in 1..=4 {
        fx.events.append(vec![NewEvent { timestamp: t(secs), ..event(0) }].into()).await.unwrap();
    }
    fx.events.trim(t(3), 10).await.unwrap();
    for cursor in [0, 1] {
        conflict(fx.events.after(cursor, 10).await, ConflictCode::CursorTrimmed);
    }
    assert_eq!(fx.events.after(2, 10).await.unwrap().events.len(), 2);
    assert_eq!(fx.events.after(3, 10).await.unwrap().events.len(), 1);
}

/// A task's history forgets what was trimmed, and goes on.
pub async fn a_trimmed_history_goes_on(fx: &Fixture) {
    fx.create(task("a")).await;
    fx.tasks.claim(crate::given::claim(&crate::given::job("a", 1), "w", t(5))).await.unwrap();
    assert_eq!(fx.events.trim(t(5), 10).await.unwrap(), 1);
    let left = fx.tasks.history(&id("a"), 0, 10).await.unwrap();
    assert_eq!(left.iter().map(|event| event.kind).collect::<Vec<_>>(), [EventType::TaskClaimed]);
}

/// Who waits for the next event is woken by it, whatever made it; who is behind does not wait.
pub async fn a_wait_ends_with_the_next_event(fx: &Fixture) {
    let log = fx.events.clone();
    let waits = tokio::spawn(async move { log.wait(0, PATIENCE).await });
    fx.create(task("a")).await;
    assert!(waits.await.unwrap().unwrap());
    assert!(fx.events.wait(0, PATIENCE).await.unwrap());
    let log = fx.events.clone();
    let waits = tokio::spawn(async move { log.wait(1, PATIENCE).await });
    fx.agent("w").await;
    assert!(waits.await.unwrap().unwrap());
}

/// A wait for what does not come ends at its timeout.
pub async fn a_wait_ends_at_its_timeout(fx: &Fixture) {
    fx.create(task("a")).await;
    assert!(!fx.events.wait(1, Duration::from_millis(5)).await.unwrap());
    assert!(!fx.events.wait(1, Duration::ZERO).await.unwrap());
}
