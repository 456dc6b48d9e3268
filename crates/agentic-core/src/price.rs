//! Where a price was taken from.

use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    error::{Error, Result},
};

/// The longest key of a price map, in characters.
pub const MAX_PRICE_KEY: usize = 256;

/// The place in a price map that a price was taken from, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceSource {
    /// The SHA-256 of the map, in 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// Under which key of it; 1–256 characters.
    pub key: String,
    /// Which of the prices that stand there.
    pub tier: PriceTier,
    /// When it was taken.
    pub imported_at: Timestamp,
}

impl PriceSource {
    /// Refuses what is no such place.
    ///
    /// # Errors
    /// `Invalid`, naming the field.
    pub fn validate(&self) -> Result<()> {
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if self.sha256.len() != 64 || !self.sha256.bytes().all(is_hex) {
            return Err(Error::invalid("price_source", "sha256 must be 64 lower-case hexadecimal digits"));
        }
        if self.key.is_empty() || self.key.chars().count() > MAX_PRICE_KEY {
            return Err(Error::invalid("price_source", "key must be 1 to 256 characters"));
        }
        Ok(())
    }
}

/// Which price, where a map has several of one category: by the size of a request's context, or by the time in a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PriceTier {
    /// It had one.
    Only,
    /// The highest, of each category: what is charged is never below what is spent.
    Highest,
    /// The one without a condition: a request that meets one costs more than is charged.
    Base,
}

impl PriceTier {
    /// The name in storage and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Only => "only",
            Self::Highest => "highest",
            Self::Base => "base",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_names_a_digest_and_a_key() {
        let source = |sha256: &str, key: &str| PriceSource {
            sha256: sha256.to_owned(),
            key: key.to_owned(),
            tier: PriceTier::Only,
            imported_at: Timestamp::EPOCH,
        };
        let digest = "0123456789abcdef".repeat(4);
        for (sha256, key, good) in [
            (digest.as_str(), "vendor/m", true),
            (&digest, &"ä".repeat(256), true),
            (&digest, &"a".repeat(257), false),
            (&digest, "", false),
            (&digest[1..], "m", false),
            (&digest.to_uppercase(), "m", false),
            (&digest.replace('0', "g"), "m", false),
        ] {
            assert_eq!(source(sha256, key).validate().is_ok(), good, "{sha256} {key}");
        }
        for tier in [PriceTier::Only, PriceTier::Highest, PriceTier::Base] {
            assert_eq!(serde_json::to_value(tier).unwrap(), tier.as_str());
        }
    }
}
