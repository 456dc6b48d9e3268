//! Values as a person reads them.

use std::fmt::Display;

use agentic_core::{amount::Amount, clock::Timestamp};

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
