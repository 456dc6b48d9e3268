//! Windows: over which time something is counted.
//!
//! A store knows of a window only a grid of buckets (their length and their origin) and which of them count at a
//! moment, so that a new kind of window is a new value of [`Window`], and data to every store.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    error::{Error, Result},
};

const DAY_MILLIS: i64 = 86_400_000;

/// Over which time it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum Window {
    /// A calendar day in UTC; the date is the bucket, so midnight needs no job. `day`.
    Day,
    /// The last so many seconds (a multiple of 60), in buckets of a sixtieth: 61 of them are summed, so that no
    /// real window ever holds more than the cap, and room comes back at most one bucket late. `sliding:SECS`.
    Sliding(u32),
    /// One window after the other, each as long, from an anchor on: five hours or a week, as the providers of coding
    /// agents count. One window is one bucket, so what a job uses after the end of the window that it was admitted in
    /// counts in the next. `anchored:SECS`, or `anchored:SECS@ORIGIN`.
    Anchored {
        /// How long one window is, in seconds: [`Window::ANCHORED_SECS`].
        secs: u32,
        /// Where windows begin: the anchor in milliseconds since 1970, modulo the length.
        origin: i64,
    },
    /// For ever. `lifetime`.
    Lifetime,
    /// At this moment; only for [`crate::limit::Meter::ActiveJobs`]. `live`.
    Live,
}

impl Window {
    /// The last hour.
    pub const HOUR: Self = Self::Sliding(3_600);
    /// How short and how long an anchored window may be, in seconds: a minute to a year.
    pub const ANCHORED_SECS: (u32, u32) = (60, 366 * 86_400);

    /// Windows of `secs` seconds, of which one begins at `anchor`.
    pub fn anchored(secs: u32, anchor: Timestamp) -> Self {
        Self::Anchored { secs, origin: anchor.millis().rem_euclid(i64::from(secs.max(1)) * 1_000) }
    }

    /// The grid: the length of one bucket in milliseconds, where time is cut into buckets, and where bucket 0 begins in
    /// milliseconds since 1970.
    pub fn grid(self) -> Option<(i64, i64)> {
        match self {
            Self::Day => Some((DAY_MILLIS, 0)),
            Self::Sliding(secs) => Some(((i64::from(secs) * 1_000 / 60).max(1), 0)),
            Self::Anchored { secs, origin } => Some(((i64::from(secs) * 1_000).max(1), origin)),
            Self::Lifetime | Self::Live => None,
        }
    }

    /// The bucket that `at` falls in.
    pub fn bucket(self, at: Timestamp) -> i64 {
        self.grid().map_or(0, |(step, origin)| (at.millis() - origin).div_euclid(step))
    }

    /// The first and last bucket that count at `now`, both included. A sliding and an anchored window count later ones
    /// too: they were filled before a clock was put back.
    pub fn span(self, now: Timestamp) -> (i64, i64) {
        let last = self.bucket(now);
        match self {
            Self::Sliding(_) => (last - 60, last + 60),
            Self::Anchored { .. } => (last, last + 1),
            Self::Day | Self::Lifetime | Self::Live => (last, last),
        }
    }

    /// When `bucket` begins; never for windows that do not move.
    pub fn begins_at(self, bucket: i64) -> Option<Timestamp> {
        let (step, origin) = self.grid()?;
        Some(Timestamp::from_millis(bucket.saturating_mul(step).saturating_add(origin)))
    }

    /// When `bucket` stops counting; never for windows that do not move.
    pub fn frees_at(self, bucket: i64) -> Option<Timestamp> {
        let counted = if matches!(self, Self::Sliding(_)) { 61 } else { 1 };
        self.begins_at(bucket.saturating_add(counted))
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Day => f.write_str("day"),
            Self::Sliding(secs) => write!(f, "sliding:{secs}"),
            Self::Anchored { secs, origin: 0 } => write!(f, "anchored:{secs}"),
            Self::Anchored { secs, origin } => write!(f, "anchored:{secs}@{origin}"),
            Self::Lifetime => f.write_str("lifetime"),
            Self::Live => f.write_str("live"),
        }
    }
}

impl FromStr for Window {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            let detail = "must be day, sliding:SECS (a multiple of 60), anchored:SECS (60 to 31622400), lifetime or live";
            Error::invalid("window", detail)
        };
        match text {
            "day" => return Ok(Self::Day),
            "lifetime" => return Ok(Self::Lifetime),
            "live" => return Ok(Self::Live),
            _ => {}
        }
        if let Some(rest) = text.strip_prefix("anchored:") {
            let (secs, origin) = rest.split_once('@').unwrap_or((rest, "0"));
            let secs: u32 = secs.parse().map_err(|_| wrong())?;
            let origin: i64 = origin.parse().map_err(|_| wrong())?;
            let (shortest, longest) = Self::ANCHORED_SECS;
            let fits = (shortest..=longest).contains(&secs) && (0..i64::from(secs) * 1_000).contains(&origin);
            return if fits { Ok(Self::Anchored { secs, origin }) } else { Err(wrong()) };
        }
        let secs: u32 = text.strip_prefix("sliding:").ok_or_else(wrong)?.parse().map_err(|_| wrong())?;
        if secs == 0 || !secs.is_multiple_of(60) { Err(wrong()) } else { Ok(Self::Sliding(secs)) }
    }
}

impl TryFrom<String> for Window {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Window> for String {
    fn from(window: Window) -> Self {
        window.to_string()
    }
}

/// The length of a window in its largest whole unit, as it is typed: `7d`, `5h`, `90m`, `45s`.
pub fn length(secs: u32) -> String {
    let units = [(86_400, 'd'), (3_600, 'h'), (60, 'm')];
    let whole = units.into_iter().find(|(unit, _)| secs.is_multiple_of(*unit));
    let (unit, name) = whole.unwrap_or((1, 's'));
    format!("{}{name}", secs / unit)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn windows_read_what_they_write() {
        for text in ["day", "sliding:3600", "anchored:18000", "anchored:18000@17999999", "lifetime", "live"] {
            assert_eq!(text.parse::<Window>().unwrap().to_string(), text);
        }
        for bad in [
            "sliding:0",
            "sliding:61",
            "week",
            "anchored:59",
            "anchored:31622401",
            "anchored:60@60000",
            "anchored:60@-1",
            "anchored:60@",
            "anchored:",
        ] {
            assert!(bad.parse::<Window>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_day_turns_at_midnight_in_leap_years_too() {
        for (last, next) in [
            ("2024-02-28T23:59:59.999Z", "2024-02-29T00:00:00Z"),
            ("2024-02-29T23:59:59.999Z", "2024-03-01T00:00:00Z"),
            ("2023-02-28T23:59:59.999Z", "2023-03-01T00:00:00Z"),
            ("2026-12-31T23:59:59.999Z", "2027-01-01T00:00:00Z"),
            ("1969-12-31T23:59:59.999Z", "1970-01-01T00:00:00Z"),
        ] {
            let bucket = Window::Day.bucket(at(last));
            assert_eq!(Window::Day.bucket(at(next)), bucket + 1, "{last}");
            assert_eq!(Window::Day.frees_at(bucket), Some(at(next)), "{last}");
        }
    }

    #[test]
    fn a_sliding_hour_frees_each_minute_at_its_edge() {
        for minute in 0..60 {
            let edge = at("2026-03-01T12:00:00Z").plus(Duration::from_mins(minute));
            let (bucket, before) = (Window::HOUR.bucket(edge), edge.minus(Duration::from_millis(1)));
            assert_eq!(Window::HOUR.bucket(before), bucket - 1, "{edge}");
            let frees = Window::HOUR.frees_at(bucket).unwrap();
            assert_eq!(frees, edge.plus(Duration::from_mins(61)));
            assert!(
                Window::HOUR.span(frees.minus(Duration::from_millis(1))).0 <= bucket,
                "{edge} counts until then"
            );
            assert_eq!(Window::HOUR.span(frees).0, bucket + 1, "{edge} does not count from then on");
        }
    }

    #[test]
    fn an_anchored_window_begins_at_its_anchor() {
        let anchor = at("2026-03-01T12:34:56.789Z");
        let window = Window::anchored(18_000, anchor);
        let bucket = window.bucket(anchor);
        assert_eq!(window.begins_at(bucket), Some(anchor));
        assert_eq!(window.frees_at(bucket), Some(at("2026-03-01T17:34:56.789Z")));
        assert_eq!(window.bucket(anchor.minus(Duration::from_millis(1))), bucket - 1);
        assert_eq!(window.bucket(at("2026-03-01T17:34:56.788Z")), bucket);
        assert_eq!(window.bucket(at("2026-03-01T17:34:56.789Z")), bucket + 1);
    }

    proptest! {
        /// Every instant lies in exactly one window, each is as long as it says, and one of them begins at the anchor.
        #[test]
        fn anchored_windows_tile(secs in 60u32..700_000, anchor in -9_000_000_000_000i64..9_000_000_000_000, now in -9_000_000_000_000i64..9_000_000_000_000) {
            let (anchor, now) = (Timestamp::from_millis(anchor), Timestamp::from_millis(now));
            let window = Window::anchored(secs, anchor);
            let bucket = window.bucket(now);
            let (begins, ends) = (window.begins_at(bucket).unwrap(), window.frees_at(bucket).unwrap());
            prop_assert!(begins <= now && now < ends);
            prop_assert_eq!(ends.since(begins), Duration::from_secs(secs.into()));
            prop_assert_eq!(window.begins_at(bucket + 1), Some(ends));
            prop_assert_eq!((anchor.millis() - begins.millis()) % (i64::from(secs) * 1_000), 0);
            prop_assert_eq!(window.to_string().parse::<Window>().unwrap(), window);
        }
    }
}
