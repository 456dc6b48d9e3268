//! The ledger as it is read: entries of one agent, newest first, over an opening balance.

use std::collections::BTreeMap;

use agentic_core::{
    id::JobId,
    job::{Entry, EntryKind, JobOutcome, Move},
    limit::MeterKey,
    port::{EntryPage, ReadEntries, ResetUsage},
};

use crate::{
    Fixture,
    expect::invalid,
    given::{daily_jobs, daily_tokens, figures, id, job, model_tokens, n, report, settle, spend, t},
};

fn nth(number: usize) -> JobId {
    job(&format!("t{number}"), 1)
}

async fn page(fx: &Fixture, agent: &str, cursor: Option<String>, limit: usize) -> EntryPage {
    fx.allowances.entries(ReadEntries { agent_id: id(agent), cursor, limit }).await.unwrap()
}

fn kinds(page: &EntryPage) -> Vec<EntryKind> {
    page.entries.iter().map(|entry| entry.kind).collect()
}

/// What an agent's entries say, newest first: kind, time, job, model, and what moved by how much.
pub async fn a_ledger_is_read_newest_first(fx: &Fixture) {
    assert_eq!(page(fx, "w", None, 9).await, EntryPage::default(), "an agent that nobody knows");
    let limits = [daily_tokens("w", 1_000), daily_jobs("w", 5)];
    fx.spent(&nth(0), &limits, 7, t(1)).await;
    fx.allowances.settle(settle(&nth(0), JobOutcome::Failed, t(2))).await.unwrap();
    fx.allowances.reset_usage(ResetUsage { agent_id: id("w"), now: t(3) }).await.unwrap();
    fx.allowances.report(report(&nth(1), "x", figures(1, 0), t(4))).await.unwrap();
    let read = page(fx, "w", None, 9).await;
    assert_eq!(kinds(&read), [EntryKind::Reset, EntryKind::Refund, EntryKind::Charge, EntryKind::Start]);
    assert_eq!((read.next, read.opening), (None, vec![]));
    let moved = |limit: usize, delta: i64| {
        let key = limits[limit].key.clone();
        Move { bucket: key.window.bucket(t(0)), key, delta }
    };
    let entry = |kind, secs, job: Option<JobId>, moves| {
        let model = job.is_some().then(|| id("m"));
        Entry { kind, at: t(secs), job, agent_id: id("w"), model, cost_source: None, moves }
    };
    let expected = [
        entry(EntryKind::Reset, 3, None, vec![moved(0, -4), moved(1, -1)]),
        entry(EntryKind::Refund, 2, Some(nth(0)), vec![moved(0, -3)]),
        entry(EntryKind::Charge, 1, Some(nth(0)), vec![moved(0, 7)]),
        entry(EntryKind::Start, 1, Some(nth(0)), vec![moved(1, 1)]),
    ];
    assert_eq!(read.entries, expected);
}

/// Pages follow each other without a gap or a repetition, whatever is booked meanwhile; the last one says so.
pub async fn a_ledger_is_paged(fx: &Fixture) {
    let limits = [daily_jobs("w", 100)];
    for number in 0..5 {
        fx.spent(&nth(number), &limits, 0, t(0)).await;
    }
    let (mut cursor, mut seen) = (None, Vec::new());
    for (number, size) in [2, 2, 1].into_iter().enumerate() {
        let read = page(fx, "w", cursor, 2).await;
        assert_eq!((read.entries.len(), read.next.is_some()), (size, size == 2), "page {number}");
        seen.extend(read.entries.into_iter().map(|entry| entry.job.unwrap()));
        cursor = read.next;
        fx.spent(&nth(10 + number), &limits, 0, t(1)).await;
    }
    assert_eq!(seen, [4, 3, 2, 1, 0].map(nth));
    let read = page(fx, "w", None, 8).await;
    assert_eq!((read.entries.len(), read.next), (8, None), "a page that is exactly full is the last one");
    let read = ReadEntries { agent_id: id("w"), cursor: Some("no cursor".to_owned()), limit: 2 };
    invalid(fx.allowances.entries(read).await, "cursor");
}

/// Entries that were folded by age show as what they moved in all, so that an agent's meters still add up; what no
/// window counts any more is forgotten.
pub async fn what_was_folded_is_an_opening_balance(fx: &Fixture) {
    let limits = [daily_tokens("w", 1_000), daily_jobs("w", 9), model_tokens("m", 1_000), spend("m", 1_000)];
    for (number, secs) in [1, 2, 3].into_iter().enumerate() {
        fx.spent(&nth(number), &limits, 10, t(secs)).await;
    }
    while fx.events.trim(t(3), 2).await.unwrap() > 0 {}
    let read = page(fx, "w", None, 1).await;
    assert_eq!((kinds(&read), read.opening), (vec![EntryKind::Charge], vec![]), "not the last page");
    let read = page(fx, "w", read.next, 9).await;
    assert_eq!((kinds(&read), read.next), (vec![EntryKind::Start], None));
    let opening: BTreeMap<MeterKey, i64> =
        read.opening.into_iter().map(|Move { key, delta, .. }| (key, delta)).collect();
    let expected = [(limits[0].key.clone(), 20), (limits[1].key.clone(), 2)];
    assert_eq!(opening, expected.into(), "its own meters alone");
    assert_eq!((fx.used(&limits[0], t(3)).await.0, fx.used(&limits[1], t(3)).await.0), (30, 3));
    assert!(fx.allowances.verify().await.unwrap().is_empty());
    fx.allowances.reset_usage(ResetUsage { agent_id: id("w"), now: t(4) }).await.unwrap();
    assert_eq!(fx.used(&limits[0], t(4)).await.0, 0, "what was folded is reset too");
    let tomorrow = 86_400;
    fx.spent(&nth(7), &limits, 5, t(tomorrow)).await;
    while fx.events.trim(t(tomorrow), 3).await.unwrap() > 0 {}
    let read = page(fx, "w", None, 9).await;
    assert_eq!(kinds(&read), [EntryKind::Charge, EntryKind::Start]);
    assert_eq!(read.opening, [], "what was folded while its day went on is forgotten with it");
    assert_eq!(fx.used(&limits[0], t(tomorrow)).await.0, 5);
    assert_eq!(fx.job(&nth(7)).await.gross(), n(5));
}

/// Where there is more of the ledger than of the log, a trim says how much of it it folded: who goes on until it answers
/// less than asked for is through with both.
pub async fn a_trim_tells_of_the_longer_of_the_two(fx: &Fixture) {
    let limits = [daily_tokens("w", 1_000)];
    fx.spent(&nth(0), &limits, 0, t(1)).await;
    for tokens in 1..=6 {
        fx.allowances.report(report(&nth(0), "w", figures(tokens, 0), t(2))).await.unwrap();
    }
    let entries = page(fx, "w", None, 99).await.entries.len();
    assert!(entries > 2 * fx.log().await.len(), "{entries} entries");
    let mut folded = 0;
    loop {
        let some = fx.events.trim(t(3), 2).await.unwrap();
        folded += some;
        if some < 2 {
            break;
        }
    }
    assert_eq!((folded, page(fx, "w", None, 99).await.entries.len()), (entries, 0));
    assert!(fx.allowances.verify().await.unwrap().is_empty());
}

/// A fold that is cut off among entries that balance leaves the meters as the sum of what is left.
pub async fn a_fold_that_is_cut_off_still_adds_up(fx: &Fixture) {
    let limits = [daily_jobs("w", 9)];
    fx.spent(&nth(0), &limits, 0, t(1)).await;
    fx.allowances.reset_usage(ResetUsage { agent_id: id("w"), now: t(2) }).await.unwrap();
    fx.spent(&nth(1), &limits, 0, t(3)).await;
    for left in [EntryKind::Reset, EntryKind::Start] {
        fx.events.trim(t(2 * 86_400), 1).await.unwrap();
        assert_eq!(kinds(&page(fx, "w", None, 9).await).last(), Some(&left));
    }
    assert_eq!(kinds(&page(fx, "w", None, 9).await), [EntryKind::Start]);
    assert_eq!(fx.used(&limits[0], t(3)).await.0, 1);
    assert!(fx.allowances.verify().await.unwrap().is_empty());
}
