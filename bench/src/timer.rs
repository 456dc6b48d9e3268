//! Reading the time.

use std::time::Duration;

use agentic_core::clock::{Clock, SystemClock};

/// A point in time to measure from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timer(Duration);

impl Timer {
    /// Starts now.
    pub(crate) fn start() -> Self {
        Self(SystemClock.monotonic())
    }

    /// The time since the start.
    pub(crate) fn elapsed(self) -> Duration {
        SystemClock.monotonic().saturating_sub(self.0)
    }

    /// So many a second since the start.
    pub(crate) fn rate(self, count: u32) -> f64 {
        f64::from(count) / self.elapsed().as_secs_f64().max(f64::EPSILON)
    }
}

/// The `percent`-th percentile of what was measured, in milliseconds; 0 of nothing.
pub(crate) fn percentile(measured: &mut [Duration], percent: usize) -> f64 {
    measured.sort_unstable();
    let index = (measured.len() * percent / 100).min(measured.len().saturating_sub(1));
    measured.get(index).map_or(0.0, |time| time.as_secs_f64() * 1_000.0)
}
