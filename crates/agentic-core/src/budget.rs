//! Budgets: further limits of any scope, as data.
//!
//! An allowance says what one agent may use and a quota what may be used of one model, each in words of its own. A
//! budget says the rest: it is a list of limits for one scope, of any meter over any window. Policy holds a job against
//! every budget whose scope it counts under, after the limits of its allowance and its quota.

use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    amount::Amount,
    clock::Timestamp,
    error::{Error, Result},
    limit::{Limit, Meter, MeterKey, Scope, Window},
};

/// The most limits of one budget.
pub const MAX_LIMITS: usize = 32;
/// The longest hold: a week and a day. An instant further away is cut to it, so that a bogus one parks nobody for good.
pub const LONGEST_HOLD: Duration = Duration::from_hours(8 * 24);

/// The limits of one scope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Whose: `fleet`, `project:NAME`, `agent:ID`, `model:NAME` or `agent:ID model:NAME`.
    pub scope: Scope,
    /// At most 32, each of another meter or window, in the order in which refusals are told.
    #[serde(default)]
    pub limits: Vec<BudgetLimit>,
    /// Nothing is admitted until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// Which change made it what it is; given by the store, and never twice.
    #[serde(default)]
    pub version: u64,
}

/// One limit of a budget.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetLimit {
    /// What is counted.
    pub meter: Meter,
    /// Over which time; an anchored window is named by its length alone, `anchored:SECS`.
    pub window: Window,
    /// How much of it: tokens, jobs, requests, micro-dollars or live reservations, by the meter; at least 1.
    pub cap: Amount,
    /// It is evaluated and told, and refuses nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shadow: bool,
    /// Where the present window of an anchored limit begins; absent = at the next admission.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchor: Option<Timestamp>,
    /// When the present window of an anchored limit ends, where that is sooner than its length says: a provider said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<Timestamp>,
    /// How it stands; only on read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing: Option<Standing>,
}

/// How a limit stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Used in the present window.
    pub used: Amount,
    /// Held by live reservations.
    pub reserved: Amount,
    /// When the present window ends, or a sliding one has let go of everything that it holds now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resets_at: Option<Timestamp>,
    /// How many admissions a shadow limit would have refused, as far as the server that answers has seen since it
    /// started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub would_refuse: Option<u64>,
}

/// Nothing is admitted for a while: a provider said so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Until when.
    pub until: Timestamp,
    /// What was said, where that lies further away than a hold may last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub named: Option<Timestamp>,
    /// Why, for people.
    pub reason: String,
}

impl Budget {
    /// A budget without limits.
    pub fn new(scope: Scope) -> Self {
        Self { scope, limits: Vec::new(), hold: None, version: 0 }
    }

    /// Refuses what cannot be counted.
    ///
    /// # Errors
    /// `Invalid`, naming the field.
    pub fn validate(&self) -> Result<()> {
        if self.limits.len() > MAX_LIMITS {
            return Err(Error::invalid("limits", "must be at most 32"));
        }
        let mut seen = BTreeSet::new();
        for (i, limit) in self.limits.iter().enumerate() {
            let refuse =
                |field: &str, detail: &str| Err(Error::invalid(format!("limits[{i}].{field}"), detail));
            if limit.cap.is_zero() {
                return refuse("cap", "must be at least 1; leave the limit out where there is none");
            }
            if (limit.meter == Meter::ActiveJobs) != (limit.window == Window::Live) {
                return refuse("window", "must be live for active_jobs, and only for them");
            }
            if matches!(limit.window, Window::Anchored { origin, .. } if origin != 0) {
                return refuse("window", "must be anchored:SECS; the anchor is a field of its own");
            }
            if limit.anchor.is_some() && limit.anchored_secs().is_none() {
                return refuse("anchor", "belongs to an anchored window");
            }
            if limit.ends.is_some() && limit.end().is_none() {
                return refuse("ends", "belongs to an anchored window that has begun");
            }
            if !seen.insert((limit.meter, limit.window)) {
                return refuse("window", "is there already for this meter");
            }
        }
        Ok(())
    }

    /// The hold that is on at `now`.
    pub fn held_at(&self, now: Timestamp) -> Option<&Hold> {
        self.hold.as_ref().filter(|hold| hold.until > now)
    }
}

impl BudgetLimit {
    /// An enforced limit.
    pub fn new(meter: Meter, window: Window, cap: Amount) -> Self {
        Self { meter, window, cap, shadow: false, anchor: None, ends: None, standing: None }
    }

    /// What stores count: an anchored window by where it is anchored.
    pub fn limit(&self, scope: Scope) -> Limit {
        Limit { key: MeterKey { scope, meter: self.meter, window: self.counted() }, cap: Some(self.cap) }
    }

    /// What a job that begins to use something at `now` is counted under: after a window that was cut short the next one,
    /// which begins at the first use and has counted nothing.
    pub fn limit_at(&self, scope: Scope, now: Timestamp) -> Limit {
        if self.is_cut(now) {
            return Self { anchor: Some(now), ..self.clone() }.limit(scope);
        }
        self.limit(scope)
    }

    /// Whether its window was cut short, and is over at `now`.
    pub fn is_cut(&self, now: Timestamp) -> bool {
        self.ends.is_some() && self.is_over(now)
    }

    /// Whether the window that its anchor began is over at `now`, or none was begun yet.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.anchored_secs().is_some() && self.end().is_none_or(|end| end <= now)
    }

    /// When the window that its anchor began ends; `None` where none was begun.
    pub fn end(&self) -> Option<Timestamp> {
        let end = self.anchor?.plus(Duration::from_secs(self.anchored_secs()?.into()));
        Some(self.ends.map_or(end, |sooner| sooner.min(end)))
    }

    /// The window with its anchor.
    fn counted(&self) -> Window {
        match (self.window, self.anchor) {
            (Window::Anchored { secs, .. }, Some(anchor)) => Window::anchored(secs, anchor),
            (window, _) => window,
        }
    }

    /// How long an anchored window is, in seconds.
    pub fn anchored_secs(&self) -> Option<u32> {
        match self.window {
            Window::Anchored { secs, .. } => Some(secs),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(limits: Vec<BudgetLimit>) -> Budget {
        Budget { limits, ..Budget::new(Scope::Fleet) }
    }

    fn limit(meter: Meter, window: &str, cap: u32) -> BudgetLimit {
        BudgetLimit::new(meter, window.parse().unwrap(), cap.into())
    }

    #[test]
    fn what_cannot_be_counted_is_refused_and_named() {
        let anchored = BudgetLimit { anchor: Some(Timestamp::EPOCH), ..limit(Meter::Cost, "day", 1) };
        for (limits, field) in [
            (vec![limit(Meter::Tokens, "day", 0)], "limits[0].cap"),
            (vec![limit(Meter::Tokens, "live", 1)], "limits[0].window"),
            (vec![limit(Meter::ActiveJobs, "day", 1)], "limits[0].window"),
            (vec![limit(Meter::Cost, "day", 1), limit(Meter::Cost, "day", 2)], "limits[1].window"),
            (vec![limit(Meter::Cost, "anchored:60@5", 1)], "limits[0].window"),
            (vec![anchored], "limits[0].anchor"),
            (
                (0..33).map(|i| limit(Meter::Jobs, &format!("sliding:{}", 60 * (i + 1)), 1)).collect(),
                "limits",
            ),
        ] {
            match budget(limits).validate() {
                Err(Error::Invalid { field: named, .. }) => assert_eq!(named, field),
                other => panic!("{field}: {other:?}"),
            }
        }
        let good = vec![
            limit(Meter::Tokens, "day", 1),
            limit(Meter::ActiveJobs, "live", 1),
            limit(Meter::Cost, "day", 1),
        ];
        budget(good).validate().unwrap();
    }

    #[test]
    fn a_window_is_over_at_its_end_and_before_its_first() {
        let t = Timestamp::from_millis;
        let mut limit = limit(Meter::Jobs, "anchored:60", 1);
        assert!(limit.is_over(t(0)), "none was begun");
        limit.anchor = Some(t(1_000));
        assert!(!limit.is_over(t(1_000)) && !limit.is_over(t(60_999)));
        assert!(limit.is_over(t(61_000)));
        assert!(!limit.is_over(t(500)), "the clock was put back");
        limit.ends = Some(t(9_000));
        assert!(!limit.is_over(t(8_999)) && limit.is_over(t(9_000)), "sooner");
        assert!(!limit.is_cut(t(8_999)) && limit.is_cut(t(9_000)));
        assert_eq!(limit.limit_at(Scope::Fleet, t(8_999)), limit.limit(Scope::Fleet));
        let next = limit.limit_at(Scope::Fleet, t(9_500)).key.window;
        assert_eq!(next, Window::Anchored { secs: 60, origin: 9_500 }, "it has counted nothing");
        limit.ends = Some(t(99_000));
        assert!(limit.is_over(t(61_000)), "never later");
        assert_eq!(limit.limit(Scope::Fleet).key.window, Window::Anchored { secs: 60, origin: 1_000 });
    }
}
