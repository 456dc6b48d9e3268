//! The port of settings.

use std::fmt;

use async_trait::async_trait;

use crate::error::Result;

/// Small values that a fleet shares: pause, the times of sweeps.
#[async_trait]
pub trait Settings: fmt::Debug + Send + Sync + 'static {
    /// Reads a value; `None` when it was never set.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn get(&self, key: &str) -> Result<Option<String>>;

    /// Sets or, with `None`, removes a value.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn put(&self, key: &str, value: Option<String>) -> Result<()>;
}
