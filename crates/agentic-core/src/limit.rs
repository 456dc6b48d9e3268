//! Limits as data, and the arithmetic of room.
//!
//! Policy turns allowances, quotas and the rest into a list of [`Limit`]s; a store counts under them and knows
//! nothing else. A new kind of limit is one more value of [`Scope`], [`Meter`] or [`Window`].

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

pub use crate::window::{Window, length};
use crate::{
    amount::Amount,
    clock::Timestamp,
    error::{Error, Result},
    id::{AgentId, ModelName, ProjectName},
};

/// Who shares a limit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum Scope {
    /// One agent; `agent:ID`.
    Agent(AgentId),
    /// One model, over all agents; `model:NAME`.
    Model(ModelName),
    /// One model used by one agent; `agent:ID model:NAME`.
    AgentModel(AgentId, ModelName),
    /// One project; `project:NAME`.
    Project(ProjectName),
    /// Everybody; `fleet`.
    Fleet,
}

impl Scope {
    /// The agent whose limit it is alone.
    pub const fn agent(&self) -> Option<&AgentId> {
        match self {
            Self::Agent(agent) | Self::AgentModel(agent, _) => Some(agent),
            Self::Model(_) | Self::Project(_) | Self::Fleet => None,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(agent) => write!(f, "agent:{agent}"),
            Self::Model(model) => write!(f, "model:{model}"),
            Self::AgentModel(agent, model) => write!(f, "agent:{agent} model:{model}"),
            Self::Project(project) => write!(f, "project:{project}"),
            Self::Fleet => f.write_str("fleet"),
        }
    }
}

impl FromStr for Scope {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::invalid("scope", "must be agent:ID, model:NAME, project:NAME or fleet");
        if text == "fleet" {
            return Ok(Self::Fleet);
        }
        if let Some((agent, model)) = text.split_once(' ') {
            let agent = agent.strip_prefix("agent:").ok_or_else(wrong)?;
            let model = model.strip_prefix("model:").ok_or_else(wrong)?;
            return Ok(Self::AgentModel(agent.parse()?, model.parse()?));
        }
        match text.split_once(':').ok_or_else(wrong)? {
            ("agent", id) => Ok(Self::Agent(id.parse()?)),
            ("model", name) => Ok(Self::Model(name.parse()?)),
            ("project", name) => Ok(Self::Project(name.parse()?)),
            _ => Err(wrong()),
        }
    }
}

impl TryFrom<String> for Scope {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.to_string()
    }
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Meter {
    /// Tokens, in and out.
    Tokens,
    /// Jobs started.
    Jobs,
    /// Requests to a model: one at a job's start.
    Requests,
    /// Micro-dollars.
    Cost,
    /// Reservations alive; never a counter, always the set itself.
    ActiveJobs,
}

impl Meter {
    /// The name in storage and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tokens => "tokens",
            Self::Jobs => "jobs",
            Self::Requests => "requests",
            Self::Cost => "cost",
            Self::ActiveJobs => "active_jobs",
        }
    }

    /// What an admission that asks for `tokens` needs under a limit of this meter: at least one of everything, since at
    /// the limit is over the limit (design §7).
    pub fn need(self, tokens: Amount) -> Amount {
        match self {
            Self::Tokens => tokens.max(Amount::ONE),
            Self::Jobs | Self::Requests | Self::Cost | Self::ActiveJobs => Amount::ONE,
        }
    }
}

impl fmt::Display for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What is counted, for whom, over which time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MeterKey {
    /// For whom.
    pub scope: Scope,
    /// What.
    pub meter: Meter,
    /// Over which time.
    pub window: Window,
}

impl fmt::Display for MeterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.scope, self.meter, self.window)
    }
}

/// A meter, and how far it may go; without a cap it is only counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Limit {
    /// What is counted.
    pub key: MeterKey,
    /// The cap: tokens, jobs, requests, micro-dollars or live reservations, by the meter.
    pub cap: Option<Amount>,
}

impl Limit {
    /// A limit; `cap: None` counts without limiting.
    pub fn new(scope: Scope, meter: Meter, window: Window, cap: Option<Amount>) -> Self {
        Self { key: MeterKey { scope, meter, window }, cap }
    }

    /// Whether an admission that asks for `tokens` has room: `used + reserved + need ≤ cap`.
    ///
    /// `buckets` are the filled buckets that count at `now`, ascending.
    ///
    /// # Errors
    /// The refusal, with the time at which the window itself has made room, where waiting can.
    pub fn admit(&self, buckets: &[(i64, i64)], held: &Held, tokens: Amount) -> Result<(), Box<Refusal>> {
        let Some(cap) = self.cap else { return Ok(()) };
        let need = self.key.meter.need(tokens);
        let reserved = held.of(self.key.meter);
        let used = used(buckets);
        // Three amounts fit a u64 without saturating, so that the very edge is exact.
        let fits = |used: Amount| used.get() + reserved.get() + need.get() <= cap.get();
        if fits(used) {
            return Ok(());
        }
        // Reservations may end at any moment, so only the window's own movement gives a time.
        let retry_at = (0..buckets.len()).find_map(|gone| {
            let left = buckets.get(gone + 1..).unwrap_or_default();
            if fits(self::used(left)) { self.key.window.frees_at(buckets[gone].0) } else { None }
        });
        Err(Box::new(Refusal {
            key: Some(self.key.clone()),
            reason: self.reason(),
            used,
            reserved,
            need,
            cap: Some(cap),
            retry_at,
        }))
    }

    /// Whether `used` crosses `percent` of the cap between `before` and `after`.
    pub fn crosses(&self, percent: u32, before: Amount, after: Amount) -> bool {
        self.cap.is_some_and(|cap| {
            let mark = cap.percent(percent);
            before < mark && after >= mark
        })
    }

    /// The rule in words.
    fn reason(&self) -> String {
        let MeterKey { scope, meter, window } = &self.key;
        let what = match meter {
            Meter::Tokens => "tokens",
            Meter::Jobs => "jobs",
            Meter::Requests => "requests",
            Meter::Cost => "spend (in micro-dollars)",
            Meter::ActiveJobs => "concurrent jobs",
        };
        match window {
            Window::Day => format!("{what} of {scope} today"),
            Window::Sliding(3_600) => format!("{what} of {scope} in the last hour"),
            Window::Sliding(secs) => format!("{what} of {scope} in the last {}", length(*secs)),
            Window::Anchored { secs, .. } => format!("{what} of {scope} in its window of {}", length(*secs)),
            Window::Lifetime => format!("{what} of {scope} in total"),
            Window::Live => format!("{what} of {scope}"),
        }
    }
}

/// The sum of a meter's buckets; a sum below zero (a refund after a reset) reads as zero.
pub fn used(buckets: &[(i64, i64)]) -> Amount {
    Amount::from_signed(buckets.iter().fold(0i64, |sum, (_, value)| sum.saturating_add(*value)))
}

/// What live reservations hold under one scope.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Live reservations.
    pub active: Amount,
    /// Those that have not started, and so hold a job and a request.
    pub unstarted: Amount,
    /// Tokens asked for and not used yet.
    pub tokens: Amount,
}

impl Held {
    /// What is held under `meter`.
    pub fn of(&self, meter: Meter) -> Amount {
        match meter {
            Meter::Tokens => self.tokens,
            Meter::Jobs | Meter::Requests => self.unstarted,
            Meter::Cost => Amount::ZERO,
            Meter::ActiveJobs => self.active,
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            active: self.active.plus(other.active),
            unstarted: self.unstarted.plus(other.unstarted),
            tokens: self.tokens.plus(other.tokens),
        }
    }
}

/// What a meter stands at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// The sum of the buckets that count now.
    pub used: Amount,
    /// What live reservations hold.
    pub reserved: Amount,
    /// The filled buckets that count now, ascending.
    pub buckets: Vec<(i64, i64)>,
}

/// Why an admission was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The limit that has no room; absent where a rule that counts nothing refused (the allowlist).
    pub key: Option<MeterKey>,
    /// The rule in words, without figures.
    pub reason: String,
    /// What was used when it was refused.
    pub used: Amount,
    /// What was held.
    pub reserved: Amount,
    /// What was asked for.
    pub need: Amount,
    /// The cap.
    pub cap: Option<Amount>,
    /// When the window itself will have made room, where waiting can.
    pub retry_at: Option<Timestamp>,
}

impl Refusal {
    /// A refusal by a rule that counts nothing.
    pub fn rule(reason: impl Into<String>) -> Self {
        Self {
            key: None,
            reason: reason.into(),
            used: Amount::ZERO,
            reserved: Amount::ZERO,
            need: Amount::ZERO,
            cap: None,
            retry_at: None,
        }
    }

    /// How long to wait from `now`, where waiting helps.
    pub fn retry_after(&self, now: Timestamp) -> Option<Duration> {
        self.retry_at.map(|at| at.since(now))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(cap) = self.cap else { return f.write_str(&self.reason) };
        write!(f, "limit on {}: {} used", self.reason, self.used)?;
        if !self.reserved.is_zero() {
            write!(f, " + {} reserved", self.reserved)?;
        }
        write!(f, " + {} asked > {cap}", self.need)?;
        if let Some(at) = self.retry_at {
            write!(f, "; room again at {at}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn tokens(cap: u32) -> Limit {
        Limit::new(Scope::Fleet, Meter::Tokens, Window::Day, Some(cap.into()))
    }

    #[test]
    fn scopes_read_what_they_write() {
        for text in ["fleet", "agent:a:b", "model:v/m", "project:p/q", "agent:a model:v/m"] {
            assert_eq!(text.parse::<Scope>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn at_the_limit_is_over_the_limit() {
        let ask = |used: i64, ask: u32| tokens(100).admit(&[(0, used)], &Held::default(), ask.into()).is_ok();
        assert!(ask(99, 0) && ask(99, 1), "one under");
        assert!(!ask(100, 0), "exactly at");
        assert!(!ask(101, 0), "one over");
        assert!(ask(40, 60) && !ask(40, 61), "the ask counts");
    }

    #[test]
    fn reservations_count() {
        let held = Held { tokens: 60u32.into(), ..Held::default() };
        assert!(tokens(100).admit(&[], &held, 40u32.into()).is_ok());
        let refusal = tokens(100).admit(&[], &held, 41u32.into()).unwrap_err();
        assert_eq!((refusal.reserved.get(), refusal.retry_at), (60, None), "no window frees a reservation");
    }

    #[test]
    fn a_day_ends_at_midnight() {
        let now = at("2024-02-29T23:59:59.999Z");
        let bucket = Window::Day.bucket(now);
        assert_eq!(Window::Day.bucket(at("2024-03-01T00:00:00Z")), bucket + 1);
        let refusal = tokens(5).admit(&[(bucket, 5)], &Held::default(), Amount::ZERO).unwrap_err();
        assert_eq!(refusal.retry_at, Some(at("2024-03-01T00:00:00Z")));
        let never = tokens(5).admit(&[(bucket, 5)], &Held::default(), 6u32.into()).unwrap_err();
        assert_eq!(never.retry_at, None, "an ask above the cap never fits");
    }

    #[test]
    fn a_lifetime_never_frees() {
        let limit = Limit::new(Scope::Fleet, Meter::Cost, Window::Lifetime, Some(5u32.into()));
        assert_eq!(limit.admit(&[(0, 5)], &Held::default(), Amount::ZERO).unwrap_err().retry_at, None);
    }

    #[test]
    fn crossing_a_mark_happens_once() {
        let limit = tokens(10);
        assert!(limit.crosses(80, 7u32.into(), 8u32.into()));
        assert!(!limit.crosses(80, 8u32.into(), 9u32.into()));
        assert!(!limit.crosses(80, 6u32.into(), 7u32.into()));
    }

    proptest! {
        /// Admit one request at a time whenever the sliding hour has room: no true hour ever holds more than the
        /// cap, and the time that a refusal names does have room. The clock may go back.
        #[test]
        fn a_sliding_hour_never_admits_more_than_its_cap(
            cap in 1u32..6,
            gaps in proptest::collection::vec(-900_000i64..1_200_000, 1..60),
        ) {
            let limit = Limit::new(Scope::Fleet, Meter::Requests, Window::HOUR, Some(cap.into()));
            let mut admitted: Vec<i64> = Vec::new();
            let mut now = 1_700_000_000_000i64;
            let filled = |admitted: &[i64], now: i64| {
                let (from, to) = Window::HOUR.span(Timestamp::from_millis(now));
                let mut buckets = std::collections::BTreeMap::new();
                for &ms in admitted {
                    let bucket = Window::HOUR.bucket(Timestamp::from_millis(ms));
                    if (from..=to).contains(&bucket) {
                        *buckets.entry(bucket).or_insert(0i64) += 1;
                    }
                }
                buckets.into_iter().collect::<Vec<_>>()
            };
            for gap in gaps {
                now += gap;
                match limit.admit(&filled(&admitted, now), &Held::default(), Amount::ZERO) {
                    Ok(()) => admitted.push(now),
                    Err(refusal) => {
                        let then = refusal.retry_at.unwrap().millis();
                        let newest = admitted.iter().max().copied().unwrap_or(now).max(now);
                        prop_assert!(then > now && then <= newest + 3_660_000);
                        let seen = newest <= now + 3_540_000;
                        let room = limit.admit(&filled(&admitted, then), &Held::default(), Amount::ZERO);
                        prop_assert!(!seen || room.is_ok());
                    }
                }
            }
            for &start in &admitted {
                let inside = admitted.iter().filter(|&&ms| ms >= start && ms < start + 3_600_000).count();
                prop_assert!(inside <= cap as usize);
            }
        }
    }
}
