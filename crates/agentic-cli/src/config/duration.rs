//! Durations as people write them: `10s`, `1h 30m`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de::Error};

/// Reads `10s`, `1h 30m`, `2days`.
///
/// # Errors
/// One sentence that shows how it is written.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text.trim())
        .map_err(|_| format!("{text:?} is no duration; write one such as 10s, 5m or 1h 30m"))
}

/// Writes what [`parse`] reads.
pub(crate) fn show(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// Writes a duration as text; for `#[serde(with = "duration")]`.
///
/// # Errors
/// What the serializer says.
pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&show(*duration))
}

/// Reads a duration from text; for `#[serde(with = "duration")]`.
///
/// # Errors
/// As [`parse`].
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse(&String::deserialize(deserializer)?).map_err(Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes_and_asks_for_a_unit() {
        for text in ["10s", "1h 30m", "250ms", "30days"] {
            assert_eq!(parse(&show(parse(text).unwrap())).unwrap(), parse(text).unwrap());
        }
        assert!(parse("10").unwrap_err().contains("such as 10s"));
    }
}
