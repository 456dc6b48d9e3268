//! HTTP client of agentic: the typed API, and the ports over HTTP.
//!
//! A [`Client`] has one method for each route of the API. Every call has a time limit, calls that can be repeated
//! without harm are, and every answer is bounded. [`Client::events`] and [`Client::stream_logs`] follow what happens;
//! [`remote_ports`] makes the ports of a server usable as if they were at hand.
//!
//! ```
//! use agentic_client::Client;
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let client = Client::builder("http://127.0.0.1:1").retries(0).build()?;
//! let nobody_listens = client.status().await.unwrap_err();
//! assert!(nobody_listens.is_retryable());
//! assert_eq!(nobody_listens.to_string(), "the server at http://127.0.0.1:1/ is unavailable");
//! # Ok::<(), agentic_core::error::Error>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
mod agents;
mod allowances;
mod builder;
mod call;
mod client;
mod events;
mod fleet;
mod logs;
mod page;
mod ports;
mod sse;
mod tasks;

pub use builder::ClientBuilder;
pub use client::Client;
pub use logs::log_line;
pub use page::TaskPage;
pub use ports::remote_ports;
