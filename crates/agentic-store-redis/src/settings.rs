//! The port of settings.

use agentic_core::{error::Result, port::Settings};
use async_trait::async_trait;

use crate::{args::Args, script, store::RedisStore};

#[async_trait]
impl Settings for RedisStore {
    async fn get(&self, key: &str) -> Result<Option<String>> {
        Ok(self.command("HGET", "settings", &[key]).await?.into_string())
    }

    async fn put(&self, key: &str, value: Option<String>) -> Result<()> {
        let args = Args::timeless().value(key).text(value.as_deref());
        self.ask(&script::PUT_SETTING, args).await.map(drop)
    }
}
