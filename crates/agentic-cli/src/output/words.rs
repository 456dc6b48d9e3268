//! Values as a person reads them.

use std::fmt::Display;

use agentic_core::{
    amount::Amount,
    clock::Timestamp,
    decimal,
    limit::{Meter, MeterKey, Window, length},
};

/// The value, or `-`.
pub(crate) fn or_dash<T: Display>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// The values with commas between them, or `-`.
pub(crate) fn list_or_dash<T: Display>(values: impl IntoIterator<Item = T>) -> String {
    let text = values.into_iter().map(|value| value.to_string()).collect::<Vec<_>>().join(",");
    if text.is_empty() { "-".to_owned() } else { text }
}

/// An amount of which 0 means that there is no limit.
pub(crate) fn amount_or_unlimited(amount: Amount) -> String {
    if amount.is_zero() { "unlimited".to_owned() } else { amount.to_string() }
}

/// How long ago, in the largest unit: `5s`, `3m`, `2h`, `4d`.
pub(crate) fn ago(at: Timestamp, now: Timestamp) -> String {
    let secs = now.since(at).as_secs();
    match secs {
        0..60 => format!("{secs}s"),
        60..3_600 => format!("{}m", secs / 60),
        3_600..86_400 => format!("{}h", secs / 3_600),
        _ => format!("{}d", secs / 86_400),
    }
}

/// A figure of a meter: money in dollars, the others as they are.
pub(crate) fn figure(meter: Meter, amount: Amount) -> String {
    match meter {
        Meter::Cost => format!("${}", decimal::shown(amount, 6)),
        _ => amount.to_string(),
    }
}

/// A window as it is typed.
pub(crate) fn window(window: Window) -> String {
    match window {
        Window::Sliding(secs) => format!("last-{}", length(secs)),
        Window::Anchored { secs, .. } => length(secs),
        other => other.to_string(),
    }
}

/// A meter, for whom, and over which time.
pub(crate) fn meter_key(key: &MeterKey) -> String {
    format!("{} {} {}", key.scope, key.meter, window(key.window))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_told_in_dollars_to_the_last_micro() {
        let cost = |micros: u32| figure(Meter::Cost, micros.into());
        assert_eq!(
            [cost(0), cost(1), cost(1_500_000), cost(12_345)],
            ["$0.00", "$0.000001", "$1.50", "$0.012345"]
        );
        assert_eq!(figure(Meter::Tokens, 1_500_000u32.into()), "1500000");
    }
}
