//! Digests of requests, by which a repeated call is told from another one.

use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// The SHA-256 of `value` as JSON, in hexadecimal.
pub(crate) fn of(value: &impl Serialize) -> String {
    let json = serde_json::to_vec(value).expect("plain data always serializes");
    format!("{:x}", Sha256::digest(&json))
}
