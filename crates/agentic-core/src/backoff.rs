//! How long a failed task waits.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Exponential backoff: `base · 2^(n-1)` after the n-th failure, at most `cap` (design §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    /// The wait after the first failure.
    pub base: Duration,
    /// The longest wait.
    pub cap: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base: Duration::from_secs(5), cap: Duration::from_hours(1) }
    }
}

impl Backoff {
    /// The wait after the `failures`-th failure, saturating; the zeroth waits nothing.
    pub fn after(self, failures: u32) -> Duration {
        match failures {
            0 => Duration::ZERO,
            n => self.base.saturating_mul(2u32.checked_pow(n - 1).unwrap_or(u32::MAX)).min(self.cap),
        }
    }

    /// [`Backoff::after`], longer by `permille / 1000` of a tenth: jitter only ever adds, and at most 10 %.
    pub fn jittered(self, failures: u32, permille: u32) -> Duration {
        let wait = self.after(failures);
        wait.saturating_add(wait.saturating_mul(permille.min(1_000)) / 10_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_from_five_seconds_to_an_hour() {
        let secs: Vec<u64> = (0..=5).map(|n| Backoff::default().after(n).as_secs()).collect();
        assert_eq!(secs, [0, 5, 10, 20, 40, 80]);
        for n in [11, 33, 34, u32::MAX] {
            assert_eq!(Backoff::default().after(n).as_secs(), 3_600, "{n}");
        }
    }

    #[test]
    fn jitter_adds_at_most_a_tenth() {
        assert_eq!(Backoff::default().jittered(2, 0).as_millis(), 10_000);
        assert_eq!(Backoff::default().jittered(2, 1_000).as_millis(), 11_000);
        assert_eq!(Backoff::default().jittered(2, 9_999).as_millis(), 11_000);
    }
}
