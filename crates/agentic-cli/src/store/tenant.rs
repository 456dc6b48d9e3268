//! A store that another server keeps.

use agentic_core::{
    error::Result,
    port::Ports,
    rpc::{Call, Transport, serve},
};
use async_trait::async_trait;
use serde_json::Value;

/// Leaves to the server of a store how long things are kept there; all else is passed on.
///
/// A dispatcher that joins a fleet must not delete what its own settings would, which nobody chose for that store.
#[derive(Debug)]
pub(super) struct Tenant(pub(super) Ports);

#[async_trait]
impl Transport for Tenant {
    async fn call(&self, call: Call) -> Result<Value> {
        match call {
            Call::TasksPrune { .. } | Call::EventsTrim { .. } => Ok(Value::from(0)),
            call => serve(&self.0, call).await,
        }
    }
}
