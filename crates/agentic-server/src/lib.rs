//! HTTP server of agentic: thin handlers over the services of `agentic-dispatch`.
//!
//! A [`Server`] answers the routes of the API for one fleet; [`run_fleet`] runs the dispatchers and the reaper beside
//! it. Errors are `application/problem+json` with a stable `code`, whoever refuses.
//!
//! ```
//! use std::sync::Arc;
//!
//! use agentic_core::{clock::SystemClock, memory::Memory};
//! use agentic_dispatch::{Fleet, Policy};
//! use agentic_server::Server;
//! use tokio_util::sync::CancellationToken;
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let fleet = Fleet::new(Memory::new().ports(), Arc::new(SystemClock), Policy::default())?;
//! let server = Server::builder(fleet.clone()).admin_token("0123456789abcdef").build()?;
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let stop = CancellationToken::new();
//! let running = tokio::spawn(server.serve(listener, stop.clone()));
//! stop.cancel();
//! running.await?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
mod app;
mod auth;
mod crew;
mod extract;
mod observe;
mod page;
mod problem;
mod router;
mod routes;
mod server;
mod token;

pub use crew::run_fleet;
pub use server::{Server, ServerBuilder};
pub use token::admin_token;
