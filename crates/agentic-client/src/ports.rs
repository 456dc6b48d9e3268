//! The ports over HTTP.

use std::sync::Arc;

use agentic_core::{
    error::Result,
    port::Ports,
    rpc::{self, Transport},
};
use async_trait::async_trait;
use serde_json::Value;

use crate::Client;

/// The ports of the server that `client` calls, over `/internal/v1` (no stability promise); needs the role
/// `dispatcher`.
///
/// The server's clock decides: a caller whose own is too far from it is refused. No call is repeated, for whoever uses
/// a port decides that; `Unavailable` means that it may have been done.
pub fn remote_ports(client: Client) -> Ports {
    rpc::remote(Arc::new(Http(client)))
}

#[derive(Debug)]
struct Http(Client);

#[async_trait]
impl Transport for Http {
    async fn call(&self, call: rpc::Call) -> Result<Value> {
        self.0.post(&["internal", "v1", "call"]).wait(call.waits()).body(&call)?.answer().await
    }
}
