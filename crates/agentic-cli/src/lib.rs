//! The binary `agentic`, and the factories of back ends.
//!
//! [`main`] is the whole program. A [`store::StoreUrl`] opens a back end, [`store::BackendUrls`] those of a fleet; this is the only crate that names concrete
//! stores, reads files of settings or looks at the environment.
//!
//! ```
//! use std::time::Duration;
//!
//! use agentic_cli::store::{BackendUrls, StoreOptions, StoreUrl};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let urls = BackendUrls::from("memory:".parse::<StoreUrl>()?);
//! let fleet = urls.open(&StoreOptions::new(), Duration::from_secs(60)).await?;
//! assert!(fleet.ports.agents.list().await?.is_empty() && fleet.outboxes.is_empty());
//!
//! let unknown = "postgres://h/db".parse::<StoreUrl>().unwrap_err();
//! assert!(unknown.to_string().contains("memory:, sqlite:PATH"));
//! # Ok::<(), agentic_core::error::Error>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
mod app;
mod args;
mod command;
mod config;
mod demo;
mod failure;
mod output;
mod server;
mod session;
mod signals;
pub mod store;
mod yaml;

pub use app::main;
