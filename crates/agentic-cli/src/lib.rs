//! The binary `agentic`, and the factory of back ends.
//!
//! [`main`] is the whole program. A [`store::StoreUrl`] opens a back end; this is the only crate that names concrete
//! stores, reads files of settings or looks at the environment.
//!
//! ```
//! use agentic_cli::store::StoreUrl;
//! use agentic_store_redis::RedisOptions;
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let ports = "memory:".parse::<StoreUrl>()?.open(&RedisOptions::new()).await?;
//! assert!(ports.agents.list().await?.is_empty());
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
