//! Whole, bounded quantities.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// A count of tokens, jobs, requests or micro-dollars: an integer from 0 to 2^53 − 1.
///
/// The bound is the largest integer that a double holds with its neighbours: Redis' Lua compares doubles, and
/// JavaScript reads our JSON. Sums saturate at the bound, so that a meter can never wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Amount(u64);

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// One.
    pub const ONE: Self = Self(1);
    /// The bound, 2^53 − 1.
    pub const MAX: Self = Self((1 << 53) - 1);

    /// Validates `value`.
    ///
    /// # Errors
    /// `Invalid` above 2^53 − 1.
    pub fn try_new(value: u64) -> Result<Self, Error> {
        if value > Self::MAX.0 {
            return Err(Error::invalid("amount", format!("{value} is above 9007199254740991 (2^53 - 1)")));
        }
        Ok(Self(value))
    }

    /// The value, cut at the bound.
    pub const fn saturating(value: u64) -> Self {
        if value > Self::MAX.0 { Self::MAX } else { Self(value) }
    }

    /// The value.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The value as a signed number, which always fits.
    pub const fn signed(self) -> i64 {
        self.0.cast_signed()
    }

    /// A signed sum as an amount: below zero reads as zero, above the bound as the bound.
    pub fn from_signed(value: i64) -> Self {
        u64::try_from(value).map_or(Self::ZERO, Self::saturating)
    }

    /// The sum, cut at the bound.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self::saturating(self.0.saturating_add(other.0))
    }

    /// The difference, not below zero.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// Whether this is nothing.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// [`Amount::is_zero`], as `skip_serializing_if` calls it.
    pub fn is_zero_ref(&self) -> bool {
        self.is_zero()
    }

    /// `self · percent / 100`, rounded up, without overflow.
    #[must_use]
    pub fn percent(self, percent: u32) -> Self {
        let wide = u128::from(self.0) * u128::from(percent);
        u64::try_from(wide.div_ceil(100)).map_or(Self::MAX, Self::saturating)
    }
}

impl From<u32> for Amount {
    fn from(value: u32) -> Self {
        Self(u64::from(value))
    }
}

impl From<Amount> for u64 {
    fn from(amount: Amount) -> Self {
        amount.0
    }
}

impl TryFrom<u64> for Amount {
    type Error = Error;
    fn try_from(value: u64) -> Result<Self, Error> {
        Self::try_new(value)
    }
}

impl FromStr for Amount {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let value =
            text.replace('_', "").parse().map_err(|_| Error::invalid("amount", "must be a whole number"))?;
        Self::try_new(value)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::iter::Sum for Amount {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Self::plus)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_held() {
        assert!(Amount::try_new((1 << 53) - 1).is_ok());
        assert!(Amount::try_new(1 << 53).is_err());
        assert_eq!(Amount::MAX.plus(Amount::ONE), Amount::MAX);
        assert_eq!(Amount::ZERO.minus(Amount::ONE), Amount::ZERO);
        assert_eq!(Amount::from_signed(-1), Amount::ZERO);
        assert!(serde_json::from_str::<Amount>("9007199254740992").is_err());
        assert!(serde_json::from_str::<Amount>("1.5").is_err());
        assert!(serde_json::from_str::<Amount>("-1").is_err());
    }

    #[test]
    fn percent_rounds_up_and_cannot_overflow() {
        assert_eq!(Amount::from(10).percent(80), Amount::from(8));
        assert_eq!(Amount::from(11).percent(80), Amount::from(9));
        assert_eq!(Amount::MAX.percent(100), Amount::MAX);
    }
}
