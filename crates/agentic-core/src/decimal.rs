//! Decimal numbers as text, from and to whole amounts: money without floats.

use crate::{
    amount::Amount,
    error::{Error, Result},
};

/// The longest text that is read.
const MAX_LEN: usize = 64;

/// Reads a decimal number, such as `3`, `0.30` or `1.5e-07`, as a whole number of its 10⁻`places`, exactly: 6 places make
/// micro-dollars of dollars, 12 make picodollars.
///
/// # Errors
/// `Invalid` for what is no number, is negative, has more places than that, or is above 2^53 − 1 of them.
pub fn scaled(text: &str, places: u32) -> Result<Amount> {
    let wrong = |why: &str| {
        Error::invalid("number", format!("{:?} {why}", text.chars().take(40).collect::<String>()))
    };
    if text.len() > MAX_LEN {
        return Err(wrong("is too long"));
    }
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => {
            (mantissa, exponent.parse::<i32>().map_err(|_| wrong("must be a decimal number"))?)
        }
        None => (text, 0),
    };
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{part}");
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong("must be a decimal number, not below zero"));
    }
    let significant = digits.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        return Ok(Amount::ZERO);
    }
    let zeros = digits.len() - digits.trim_end_matches('0').len();
    // Both are below 64, so that no sum of them overflows.
    let shift = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let power = i64::from(exponent) + shift(zeros) - shift(part.len()) + i64::from(places);
    let power = u32::try_from(power).map_err(|_| wrong(&format!("has more than {places} decimal places")))?;
    let value: Option<u64> = significant.parse().ok();
    let value = value.zip(10u64.checked_pow(power)).and_then(|(value, power)| value.checked_mul(power));
    value.ok_or_else(|| wrong("is too large")).and_then(Amount::try_new).map_err(|_| wrong("is too large"))
}

/// Writes a whole number of 10⁻`places` as a decimal number with at least two places: 1500000 with 6 is `1.50`.
pub fn shown(amount: Amount, places: u32) -> String {
    let places = usize::try_from(places).unwrap_or(usize::MAX).clamp(2, 18);
    let digits = format!("{:0>width$}", amount.get(), width = places + 1);
    let (whole, part) = digits.split_at(digits.len() - places);
    let part = part.trim_end_matches('0');
    format!("{whole}.{part:0<2}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decimals_are_read_exactly() {
        for (text, places, value) in [
            ("3", 6, 3_000_000),
            ("3.00", 6, 3_000_000),
            ("0.30", 6, 300_000),
            (".5", 6, 500_000),
            ("5.", 6, 5_000_000),
            ("0.000001", 6, 1),
            ("0", 6, 0),
            ("0.000000000", 6, 0),
            ("3e-06", 12, 3_000_000),
            ("1.5e-07", 12, 150_000),
            ("1.25E-6", 12, 1_250_000),
            ("1e+1", 0, 10),
            ("2.50e-11", 12, 25),
            ("0.00000000000000000000", 12, 0),
            ("9007199254740991", 0, 9_007_199_254_740_991),
            ("9007199254.740991", 6, 9_007_199_254_740_991),
        ] {
            assert_eq!(scaled(text, places).unwrap().get(), value, "{text}");
        }
        for (text, places) in [
            ("", 6),
            (".", 6),
            ("e5", 6),
            ("-1", 6),
            ("+1", 6),
            ("1,5", 6),
            ("1.2.3", 6),
            ("0x1", 6),
            ("NaN", 6),
            ("1e", 6),
            ("0.0000001", 6),
            ("1.5e-12", 12),
            ("9007199254740992", 0),
            ("1e99", 6),
            ("1e999999999999", 6),
            ("1e2147483647", 6),
            ("99999999999999999999999", 0),
            (" 1", 6),
            ("\u{661}", 6),
        ] {
            assert!(scaled(text, places).is_err(), "{text:?}");
        }
    }

    #[test]
    fn amounts_are_shown_with_two_places_at_least() {
        for (value, text) in [(0, "0.00"), (1, "0.000001"), (1_500_000, "1.50"), (12_340_000, "12.34")] {
            assert_eq!(shown(Amount::saturating(value), 6), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_again(value in 0u64..(1 << 53), places in 2u32..13) {
            let amount = Amount::try_new(value).unwrap();
            prop_assert_eq!(scaled(&shown(amount, places), places).unwrap(), amount);
        }

        #[test]
        fn no_text_panics(text in "[-+0-9.eE]{0,70}", places in 0u32..20) {
            drop(scaled(&text, places));
        }
    }
}
