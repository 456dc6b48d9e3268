//! A server: its store, its lock, its token, its listener, and what runs beside them.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use agentic_core::clock::SystemClock;
use agentic_dispatch::Fleet;
use agentic_server::{Server, admin_token, run_fleet};
use agentic_store_sqlite::ServeLock;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Secret, Settings},
    failure::Failure,
    store::StoreUrl,
};

/// A server that listens and does not answer yet.
#[derive(Debug)]
pub(crate) struct Listening {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it keeps everything in.
    pub store: StoreUrl,
    /// Its admin token.
    pub token: Secret,
    fleet: Fleet,
    server: Server,
    listener: TcpListener,
    _lock: Option<ServeLock>,
}

impl Listening {
    /// Takes everything that a server needs, so that all that can fail has not.
    ///
    /// # Errors
    /// A usage failure for settings that cannot work, or an address that others can reach without TLS; else what
    /// could not be had.
    pub(crate) async fn new(settings: &Settings) -> Result<Self, Failure> {
        if !settings.listen.ip().is_loopback() && !settings.allow_plaintext {
            return Err(Failure::usage(format!(
                "{} can be reached by others, who could read tokens and tasks: there is no TLS",
                settings.listen
            ))
            .hint("listen on 127.0.0.1 behind a proxy that ends TLS")
            .hint("or say --allow-plaintext, where the network is yours"));
        }
        let policy = settings.policy()?;
        let store: StoreUrl = settings.store_url().parse()?;
        let token = admin_token(&settings.data_dir).map_err(Failure::local)?;
        let lock = tokio::task::block_in_place(|| store.lock()).map_err(Failure::local)?;
        let ports = store.open(&settings.redis_options()).await.map_err(Failure::local)?;
        let fleet = Fleet::new(ports, Arc::new(SystemClock), policy)?;
        let server = Server::builder(fleet.clone()).admin_token(&token).build().map_err(Failure::local)?;
        let cannot = |error: std::io::Error| {
            Failure::because(format_args!("cannot listen on {}", settings.listen), &error)
                .hint("is another server running there? --listen names another address")
        };
        let listener = TcpListener::bind(settings.listen).await.map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        Ok(Self { address, store, token: Secret::new(token), fleet, server, listener, _lock: lock })
    }

    /// How to reach it from this machine.
    pub(crate) fn base_url(&self) -> String {
        let mut address = self.address;
        match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
            _ => {}
        }
        format!("http://{address}")
    }

    /// Answers, dispatches, reaps and prunes until it is told to end.
    pub(crate) async fn run(self, stop: CancellationToken) {
        // Whoever waits for an answer gets it while the dispatcher ends: nothing is half done, since every
        // transition is one transaction of the store.
        tokio::join!(self.server.serve(self.listener, stop.clone()), run_fleet(self.fleet, 1, stop));
    }
}
