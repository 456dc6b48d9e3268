//! Text that is never shown.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A token: in files as it is, in debug output and in `config show` masked.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Secret(String);

/// What stands in the place of a secret.
pub(crate) const MASK: &str = "********";

impl Secret {
    /// Takes a secret.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself: for the one header that carries it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}
