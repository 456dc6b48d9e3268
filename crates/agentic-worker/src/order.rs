//! What an attempt is told, and until when it may run.

use std::time::Duration;

use agentic_core::{amount::Amount, usage::Directive};
use tokio::time::Instant;

use crate::files::Control;

/// The longest span that is added to an instant; what is longer makes no difference, and an instant has an end.
const FOREVER: Duration = Duration::from_hours(365 * 24);

/// What an attempt is to do, from going on to having been lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Order {
    /// Go on.
    #[default]
    Run,
    /// Come to an end.
    WrapUp,
    /// End; the attempt has failed.
    Stop,
    /// End; the task was called off.
    Cancel,
    /// End at once, without a grace: another agent may have the task already.
    Abandon,
}

impl Order {
    /// What a directive of the server means.
    pub(crate) fn new(directive: Directive, reason: Option<&str>) -> Self {
        match (directive, reason) {
            (Directive::Continue, _) => Self::Run,
            (Directive::WrapUp, _) => Self::WrapUp,
            (Directive::Stop, Some("lease_lost")) => Self::Abandon,
            (Directive::Stop, Some("cancelled")) => Self::Cancel,
            (Directive::Stop, _) => Self::Stop,
        }
    }

    /// Whether it ends the attempt.
    pub(crate) fn is_final(self) -> bool {
        self >= Self::Stop
    }

    /// What the command is told of it.
    pub(crate) fn directive(self) -> Directive {
        match self {
            Self::Run => Directive::Continue,
            Self::WrapUp => Directive::WrapUp,
            Self::Stop | Self::Cancel | Self::Abandon => Directive::Stop,
        }
    }
}

/// The right to run, on this machine's monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lease {
    /// When the heartbeat that brought it was sent.
    pub(crate) heard: Instant,
    /// When it ends.
    pub(crate) until: Instant,
}

impl Lease {
    /// A lease of `secs` seconds, counted from before the question was sent.
    pub(crate) fn new(heard: Instant, secs: u64) -> Self {
        Self { heard, until: after(heard, Duration::from_secs(secs)) }
    }
}

/// Everything that an attempt is told.
#[derive(Debug, Clone, Default)]
pub(crate) struct Orders {
    /// The severest order so far.
    pub(crate) order: Order,
    /// Why.
    pub(crate) reason: String,
    /// Tokens left under the tightest limit, as the server last said; absent = unlimited.
    pub(crate) remaining: Option<Amount>,
    /// The latest lease; without one nothing runs.
    pub(crate) lease: Option<Lease>,
    /// The worker drains: what still runs then is given back.
    pub(crate) leave_by: Option<Instant>,
    /// The worker leaves now: no grace, one try for each call.
    pub(crate) at_once: bool,
}

impl Orders {
    /// Takes an order, unless a severer one stands.
    pub(crate) fn heed(&mut self, order: Order, reason: Option<&str>) {
        if order > self.order {
            self.order = order;
            reason.unwrap_or("no reason given").clone_into(&mut self.reason);
        }
    }

    /// What the command is told of all this; `must_end`: its tree is being ended, for whatever reason.
    pub(crate) fn control(&self, must_end: bool) -> Control {
        let directive = if must_end { Directive::Stop } else { self.order.directive() };
        let reason =
            Some(self.reason.clone()).filter(|_| directive != Directive::Continue && !self.reason.is_empty());
        let remaining_tokens = self.remaining.filter(|_| directive != Directive::Stop);
        Control { directive, reason, remaining_tokens }
    }

    /// When the tree must be asked to end, if at all: early enough for a grace within the lease, though never before
    /// three quarters of the lease have passed without a renewal.
    pub(crate) fn ask_at(&self, now: Instant, grace: Duration) -> Option<Instant> {
        if self.order.is_final() {
            return Some(now);
        }
        let lease = self.lease.map(|lease| lease.until - grace.min((lease.until - lease.heard) / 4));
        [lease, self.leave_by].into_iter().flatten().min()
    }

    /// When a tree that was asked to end at `asked` must be killed.
    pub(crate) fn kill_at(&self, asked: Instant, grace: Duration) -> Instant {
        if self.at_once || self.order == Order::Abandon {
            return asked;
        }
        let end = after(asked, grace);
        self.lease.map_or(end, |lease| end.min(lease.until))
    }
}

/// The instant `span` later; a year is the most.
pub(crate) fn after(instant: Instant, span: Duration) -> Instant {
    instant + span.min(FOREVER)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEC: Duration = Duration::from_secs(1);

    #[test]
    fn only_a_severer_order_replaces_one() {
        let mut orders = Orders::default();
        for (directive, reason, expected) in [
            (Directive::WrapUp, "90 % used", (Order::WrapUp, "90 % used")),
            (Directive::Continue, "", (Order::WrapUp, "90 % used")),
            (Directive::Stop, "100 % used", (Order::Stop, "100 % used")),
            (Directive::Stop, "time_bound", (Order::Stop, "100 % used")),
            (Directive::Stop, "cancelled", (Order::Cancel, "cancelled")),
            (Directive::Stop, "lease_lost", (Order::Abandon, "lease_lost")),
        ] {
            orders.heed(Order::new(directive, Some(reason)), Some(reason));
            assert_eq!((orders.order, orders.reason.as_str()), expected);
        }
    }

    #[test]
    fn a_tree_ends_within_its_lease() {
        let now = Instant::now();
        let orders = Orders { lease: Some(Lease::new(now, 60)), ..Orders::default() };
        assert_eq!(orders.ask_at(now, 10 * SEC), Some(now + 50 * SEC));
        assert_eq!(orders.ask_at(now, 30 * SEC), Some(now + 45 * SEC), "a long grace is cut");
        assert_eq!(orders.kill_at(now + 45 * SEC, 30 * SEC), now + 60 * SEC);
        assert_eq!(orders.kill_at(now + SEC, 10 * SEC), now + 11 * SEC);
        let draining = Orders { leave_by: Some(now + SEC), ..orders.clone() };
        assert_eq!(draining.ask_at(now, 10 * SEC), Some(now + SEC));
        assert_eq!(Orders { at_once: true, ..draining }.kill_at(now + SEC, 10 * SEC), now + SEC);
        let lost = Orders { order: Order::Abandon, ..orders };
        assert_eq!(lost.kill_at(now, 10 * SEC), now, "no grace for what another may be doing");
        assert_eq!(Orders::default().ask_at(now, SEC), None);
    }

    #[test]
    fn absurd_spans_do_not_overflow() {
        let now = Instant::now();
        assert!(Lease::new(now, u64::MAX).until > now);
        assert!(after(now, Duration::MAX) > now);
    }
}
