//! Instants, and where they come from.

use std::{
    fmt,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// An instant: whole milliseconds since 1970-01-01T00:00:00Z, RFC 3339 in JSON.
///
/// The range is 0001-01-01 to 9999-12-29, so that every value has a four-digit year.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp(i64);

const MIN_MILLIS: i64 = -62_135_596_800_000;
// The latest instant that every offset can show.
const MAX_MILLIS: i64 = 253_402_127_999_999;

impl Timestamp {
    /// The earliest instant, 0001-01-01T00:00:00Z.
    pub const MIN: Self = Self(MIN_MILLIS);
    /// The latest instant, 9999-12-29T23:59:59.999Z.
    pub const MAX: Self = Self(MAX_MILLIS);
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// The instant `millis` after 1970, cut to the range.
    pub const fn from_millis(millis: i64) -> Self {
        if millis < MIN_MILLIS {
            Self::MIN
        } else if millis > MAX_MILLIS {
            Self::MAX
        } else {
            Self(millis)
        }
    }

    /// Milliseconds since 1970.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// The instant `delay` later, cut to the range.
    #[must_use]
    pub fn plus(self, delay: Duration) -> Self {
        Self::from_millis(self.0.saturating_add(millis(delay)))
    }

    /// The instant `delay` earlier, cut to the range.
    #[must_use]
    pub fn minus(self, delay: Duration) -> Self {
        Self::from_millis(self.0.saturating_sub(millis(delay)))
    }

    /// The time since `earlier`; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// A duration in whole milliseconds, saturating.
fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(instant) => write!(f, "{instant:.3}"),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Timestamp {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let instant: jiff::Timestamp = text.parse().map_err(|_| {
            Error::invalid("timestamp", "must be an RFC 3339 instant such as 2026-01-31T12:00:00Z")
        })?;
        let millis = instant.as_millisecond();
        if !(MIN_MILLIS..=MAX_MILLIS).contains(&millis) {
            return Err(Error::invalid("timestamp", "must lie in the years 1 to 9999"));
        }
        Ok(Self(millis))
    }
}

impl TryFrom<String> for Timestamp {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Timestamp> for String {
    fn from(at: Timestamp) -> Self {
        at.to_string()
    }
}

/// Where services read the time. Drivers never do: they get `now` as an argument.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The instant now, in UTC.
    fn now(&self) -> Timestamp;

    /// A clock that only goes forward, from an arbitrary origin: what [`Clock::now`] is held against to notice
    /// that the wall clock was moved.
    fn monotonic(&self) -> Duration;
}

/// The machine's clock; the only place that reads it.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place where the wall clock is read")]
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(jiff::Timestamp::now().as_millisecond())
    }

    #[expect(clippy::disallowed_methods, reason = "the one place where the monotonic clock is read")]
    fn monotonic(&self) -> Duration {
        use std::{sync::LazyLock, time::Instant};
        static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
        ORIGIN.elapsed()
    }
}

/// A clock that a test moves by hand; clones share their hands.
#[derive(Debug, Clone)]
pub struct ManualClock {
    wall: Arc<AtomicI64>,
    monotonic: Arc<AtomicI64>,
}

impl ManualClock {
    /// A clock that stands at `start`.
    pub fn at(start: Timestamp) -> Self {
        Self { wall: Arc::new(AtomicI64::new(start.millis())), monotonic: Arc::new(AtomicI64::new(0)) }
    }

    /// Lets time pass on both clocks.
    pub fn advance(&self, by: Duration) {
        self.wall.fetch_add(millis(by), Ordering::SeqCst);
        self.monotonic.fetch_add(millis(by), Ordering::SeqCst);
    }

    /// Moves only the wall clock, as an operator or NTP would.
    pub fn set(&self, to: Timestamp) {
        self.wall.store(to.millis(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.wall.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.monotonic.load(Ordering::SeqCst)).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_rfc3339_in_milliseconds() {
        let at: Timestamp = "2026-02-03T04:05:06.7891Z".parse().unwrap();
        assert_eq!(at.to_string(), "2026-02-03T04:05:06.789Z");
        assert_eq!(serde_json::to_string(&at).unwrap(), "\"2026-02-03T04:05:06.789Z\"");
        let offset: Timestamp = "2026-02-03T05:05:06+01:00".parse().unwrap();
        assert_eq!(offset.to_string(), "2026-02-03T04:05:06.000Z");
        assert!("yesterday".parse::<Timestamp>().is_err());
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Timestamp::MAX.plus(Duration::from_secs(u64::MAX)), Timestamp::MAX);
        assert_eq!(Timestamp::MIN.minus(Duration::from_secs(1)), Timestamp::MIN);
        assert_eq!(Timestamp::EPOCH.since(Timestamp::from_millis(5)), Duration::ZERO);
        for edge in [Timestamp::MIN, Timestamp::MAX] {
            assert_eq!(edge.to_string().parse::<Timestamp>().unwrap(), edge);
        }
    }

    #[test]
    fn a_moved_wall_clock_leaves_the_monotonic_one() {
        let clock = ManualClock::at(Timestamp::EPOCH);
        clock.advance(Duration::from_secs(3));
        clock.set(Timestamp::from_millis(1_000_000));
        assert_eq!((clock.now().millis(), clock.monotonic()), (1_000_000, Duration::from_secs(3)));
    }
}
