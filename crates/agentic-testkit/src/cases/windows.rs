//! Windows at their edges, and caps that are lowered below what is used.

use std::time::Duration;

use agentic_core::{
    amount::Amount,
    clock::Timestamp,
    job::JobOutcome,
    limit::{Limit, Meter, Scope, Window},
    port::Admission,
    usage::Figures,
};

use crate::{
    Fixture,
    expect::refused,
    given::{
        MIDNIGHT, admission, asking, daily_tokens, figures, id, job, limit, n, report, settle, start_job, t,
    },
};

const MILLI: Duration = Duration::from_millis(1);

/// A limit on the fleet's requests over windows of five hours, of which one begins at `anchor`.
fn five_hours(anchor: Timestamp, cap: u32) -> Limit {
    limit(Scope::Fleet, Meter::Requests, Window::anchored(18_000, anchor), cap)
}

fn nth(number: u32) -> agentic_core::id::JobId {
    job(&format!("t{number}"), 1)
}

/// A day holds its cap to the last millisecond before midnight and begins anew with the next, on the 29th of February
/// and at a year's end too.
pub async fn a_day_turns_at_midnight_to_the_millisecond(fx: &Fixture) {
    let [into_leap, out_of_leap] = ["2028-02-29T00:00:00Z", "2028-03-01T00:00:00Z"].map(id);
    let new_year: Timestamp = id("2027-01-01T00:00:00Z");
    for (round, midnight) in (0u32..).zip([t(MIDNIGHT), new_year, into_leap, out_of_leap]) {
        let limits = [daily_tokens("w", 10)];
        fx.spent(&nth(round * 10), &limits, 10, midnight.minus(Duration::from_hours(23))).await;
        let last = midnight.minus(MILLI);
        let refusal = refused(fx.admit(&nth(round * 10 + 1), &limits, 0, last).await);
        assert_eq!((refusal.used, refusal.retry_at), (n(10), Some(midnight)), "{midnight}");
        fx.admit(&nth(round * 10 + 2), &limits, 10, midnight).await.unwrap();
        for full in [midnight, midnight.plus(MILLI)] {
            refused(fx.admit(&nth(round * 10 + 3), &limits, 0, full).await);
        }
    }
}

/// What was used at any second of an hour counts for a full hour, and not longer than a minute more.
pub async fn a_sliding_hour_frees_at_each_edge(fx: &Fixture) {
    for (round, second) in (0u32..).zip([0, 1, 59, 60, 61, 3_599]) {
        let hour = limit(Scope::Agent(id(&format!("w{round}"))), Meter::Requests, Window::HOUR, 1);
        let limits = [hour];
        let used = t(7_200 * i64::from(round) + second);
        fx.spent(&nth(round * 10), &limits, 0, used).await;
        let freed = Timestamp::from_millis((used.millis().div_euclid(60_000) + 61) * 60_000);
        for early in [used.plus(Duration::from_hours(1)).minus(MILLI), freed.minus(MILLI)] {
            let refusal = refused(fx.admit(&nth(round * 10 + 1), &limits, 0, early).await);
            assert_eq!(refusal.retry_at, Some(freed), "used at second {second}, asked at {early}");
        }
        assert!(freed.since(used) <= Duration::from_mins(61) && freed.since(used) > Duration::from_hours(1));
        fx.admit(&nth(round * 10 + 2), &limits, 0, freed).await.unwrap();
    }
}

/// Whoever asks at the edges of the minutes of three hours, in no hour to the millisecond more get in than the cap; and who is
/// refused finds the cap used within the last 61 minutes.
pub async fn no_true_hour_holds_more_than_its_cap(fx: &Fixture) {
    let limits = [limit(Scope::Fleet, Meter::Requests, Window::HOUR, 3)];
    let mut got_in: Vec<Timestamp> = Vec::new();
    let within = |got_in: &[Timestamp], now: Timestamp, minutes: u64| {
        got_in.iter().filter(|at| now.since(**at) < Duration::from_mins(minutes)).count()
    };
    for minute in 0..180 {
        let edge = t(i64::from(minute) * 60);
        // Before, at and after the edge in turn, at two of five: those who get in are spread over the hour.
        let now = [edge.minus(MILLI), edge, edge.plus(MILLI)][minute as usize % 3];
        if minute * 7 % 5 > 1 {
            continue;
        }
        match fx.admit(&nth(minute), &limits, 0, now).await {
            Ok(_) => {
                fx.allowances.start(start_job(&nth(minute), now)).await.unwrap();
                got_in.push(now);
                assert!(within(&got_in, now, 60) <= 3, "at {now}: {got_in:?}");
            }
            refusal => {
                let refusal = refused(refusal);
                assert!(within(&got_in, now, 61) >= 3, "refused at {now} for nothing: {got_in:?}");
                assert!(refusal.retry_at.is_some_and(|at| at > now), "{refusal:?}");
            }
        }
    }
    assert!((7..=10).contains(&got_in.len()), "{got_in:?}");
}

/// Of every scope, meter and window: with three used a cap of four has room for one more, and caps of three, two and one, at
/// or below what is used, have none. Money asks for nothing, so that it has room while a micro-dollar is left.
pub async fn every_limit_holds_at_its_cap_and_one_beside_it(fx: &Fixture) {
    let scopes = [
        Scope::Fleet,
        Scope::Project(id("p")),
        Scope::Agent(id("w")),
        Scope::Model(id("m")),
        Scope::AgentModel(id("w"), id("m")),
    ];
    let windows = [
        Window::Day,
        Window::HOUR,
        Window::Sliding(60),
        Window::Lifetime,
        Window::anchored(18_000, t(-7)),
        Window::anchored(604_800, t(-7)),
    ];
    let meters = [Meter::Tokens, Meter::Jobs, Meter::Requests, Meter::Cost];
    let kinds = meters.into_iter().flat_map(|meter| windows.map(|window| (meter, window)));
    let kinds: Vec<_> = kinds.chain([(Meter::ActiveJobs, Window::Live)]).collect();
    let (mut number, now) = (0, t(0));
    for scope in &scopes {
        for (meter, window) in &kinds {
            let of = |cap| [limit(scope.clone(), *meter, *window, cap)];
            let mut live = Vec::new();
            let mut asks = |cap: u32| {
                number += 1;
                let asks = asking(admission(&nth(number), "w", now), &of(cap), 1);
                (nth(number), Admission { project: Some(id("p")), ..asks })
            };
            let runs = if matches!(meter, Meter::Tokens | Meter::Cost) { 1 } else { 3 };
            for _ in 0..runs {
                let (job, admission) = asks(9);
                fx.allowances.admit(admission).await.unwrap();
                let used = match meter {
                    Meter::Tokens => figures(2, 1),
                    Meter::Cost => Figures { cost_micros: Some(n(3)), ..Figures::default() },
                    _ => Figures::default(),
                };
                fx.allowances.report(report(&job, "w", used, now)).await.unwrap();
                live.push(job);
            }
            let (used, held) = fx.used(&of(9)[0], now).await;
            assert_eq!(used + held, 3, "{}", of(9)[0].key);
            for cap in [1, 2, 3] {
                let refusal = refused(fx.allowances.admit(asks(cap).1).await);
                let key = &of(cap)[0].key;
                assert_eq!(
                    (refusal.key.as_ref(), refusal.cap, refusal.need),
                    (Some(key), Some(n(cap)), n(1))
                );
                assert_eq!(refusal.used.plus(refusal.reserved), n(3), "{key}");
            }
            let (job, admission) = asks(4);
            fx.allowances.admit(admission).await.unwrap();
            live.push(job);
            let (job, again) = asks(4);
            match fx.allowances.admit(again).await {
                Ok(_) if *meter == Meter::Cost => live.push(job),
                refusal => {
                    assert_eq!(refused(refusal).reserved, n(held_by(*meter)), "{scope} {meter}");
                }
            }
            // What lives holds its place under every scope.
            for job in live {
                fx.allowances.settle(settle(&job, JobOutcome::Completed, now)).await.unwrap();
            }
        }
    }
}

/// What the fourth job holds, and with it those that used what is counted.
fn held_by(meter: Meter) -> u32 {
    if meter == Meter::ActiveJobs { 4 } else { 1 }
}

/// An anchored window holds its cap from its anchor to the last millisecond before its end; `retry_at` is the end.
pub async fn an_anchored_window_holds_to_its_end(fx: &Fixture) {
    let anchor = t(1).plus(MILLI);
    let limits = [five_hours(anchor, 2)];
    let end = anchor.plus(Duration::from_hours(5));
    fx.spent(&nth(0), &limits, 0, anchor).await;
    fx.spent(&nth(1), &limits, 0, end.minus(MILLI)).await;
    let refusal = refused(fx.admit(&nth(2), &limits, 0, end.minus(MILLI)).await);
    assert_eq!((refusal.used, refusal.cap, refusal.retry_at), (n(2), Some(n(2)), Some(end)));
    assert_eq!(refusal.key.as_ref(), Some(&limits[0].key));
    fx.spent(&nth(3), &limits, 0, end).await;
    assert_eq!(fx.used(&limits[0], end).await, (1, 0), "the next window begins where this one ends");
    assert_eq!(fx.used(&limits[0], end.minus(MILLI)).await, (3, 0), "a clock that is put back opens no room");
}

/// What a job uses after the end of the window that it was admitted in counts in the next one.
pub async fn use_after_a_window_counts_in_the_next(fx: &Fixture) {
    let limits = [limit(Scope::Fleet, Meter::Tokens, Window::anchored(3_600, t(0)), 100)];
    fx.spent(&nth(0), &limits, 30, t(3_599)).await;
    fx.allowances.report(report(&nth(0), "w", figures(80, 0), t(3_600))).await.unwrap();
    assert_eq!(fx.used(&limits[0], t(3_600)).await.0, 50);
    assert_eq!(fx.allowances.verify().await.unwrap(), []);
}

/// Another anchor is another window: neither counts what the other holds, and each holds its own cap.
pub async fn another_anchor_is_another_window(fx: &Fixture) {
    let (old, new) = ([five_hours(t(0), 1)], [five_hours(t(18_000), 1)]);
    assert_eq!(old[0].key, new[0].key, "one after the other is the same meter");
    let apart = [five_hours(t(18_007), 1)];
    fx.spent(&nth(0), &old, 0, t(5)).await;
    refused(fx.admit(&nth(1), &old, 0, t(6)).await);
    fx.spent(&nth(2), &apart, 0, t(18_007)).await;
    refused(fx.admit(&nth(3), &apart, 0, t(18_008)).await);
    assert_eq!(fx.used(&apart[0], t(18_008)).await, (1, 0));
}

/// A cap below what is used admits nobody, and gives nothing back; a raised one admits what is between.
pub async fn a_cap_can_be_lowered_below_its_use(fx: &Fixture) {
    fx.spent(&nth(0), &[daily_tokens("w", 100)], 60, t(0)).await;
    for cap in [1, 59, 60] {
        let refusal = refused(fx.admit(&nth(1), &[daily_tokens("w", cap)], 0, t(1)).await);
        assert_eq!((refusal.used, refusal.need, refusal.cap), (n(60), n(1), Some(n(cap))));
    }
    fx.admit(&nth(1), &[daily_tokens("w", 61)], 0, t(1)).await.unwrap();
}

/// At the largest amount the arithmetic is exact: one under it fits, at it does not.
pub async fn the_largest_cap_is_exact(fx: &Fixture) {
    let under = Amount::MAX.minus(Amount::ONE);
    let most = [Limit { cap: Some(Amount::MAX), ..daily_tokens("w", 1) }];
    let (first, second) = (nth(0), nth(1));
    let mut asks = asking(admission(&first, "w", t(0)), &most, 0);
    asks.ask = under;
    fx.allowances.admit(asks).await.unwrap();
    let refusal = refused(fx.admit(&second, &most, 2, t(0)).await);
    assert_eq!((refusal.reserved, refusal.need), (under, n(2)));
    fx.admit(&second, &most, 1, t(0)).await.unwrap();
    refused(fx.admit(&nth(2), &most, 0, t(0)).await);
}
