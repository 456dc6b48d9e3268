//! A server: its store, its lock, its token, its listener, and what runs beside them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use agentic_core::error::Error;
use agentic_dispatch::Fleet;
use agentic_server::{Server, admin_token, run_fleet};
use agentic_store_sqlite::ServeLock;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Loaded, Secret},
    failure::{Failure, Kind},
    store::{BackendUrls, Backends, StoreOptions, StoreUrl},
};

/// A server that listens and does not answer yet.
#[derive(Debug)]
pub(crate) struct Listening {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it keeps everything in.
    pub urls: BackendUrls,
    /// Its admin token.
    pub token: Secret,
    fleet: Fleet,
    dispatchers: usize,
    server: Server,
    listener: TcpListener,
    _locks: Vec<ServeLock>,
}

impl Listening {
    /// Takes everything that a server needs, so that all that can fail has not.
    ///
    /// # Errors
    /// A usage failure for settings that cannot work, or an address that others can reach without TLS; else what
    /// could not be had.
    pub(crate) async fn new(loaded: &Loaded) -> Result<Self, Failure> {
        let settings = &loaded.settings;
        if !settings.listen.ip().is_loopback() && !settings.allow_plaintext {
            return Err(Failure::usage(format!(
                "{} can be reached by others, who could read tokens and tasks: there is no TLS",
                settings.listen
            ))
            .hint("listen on 127.0.0.1 behind a proxy that ends TLS")
            .hint("or say --allow-plaintext, where the network is yours"));
        }
        let policy = settings.policy()?;
        let urls = settings.backends()?;
        let options = StoreOptions::new().redis(settings.redis_options());
        let options = match loaded.store_token()? {
            Some(token) => options.token(token.reveal()),
            None => options,
        };
        let token = admin_token(&settings.data_dir).map_err(Failure::local)?;
        let locks = tokio::task::block_in_place(|| urls.lock()).map_err(Failure::local)?;
        let opened =
            urls.open(&options, settings.keep_events).await.map_err(|error| cannot_open(&urls, error))?;
        let Backends { ports, outboxes, clock } = opened;
        let fleet = Fleet::apart(ports, outboxes, clock, policy)?;
        let server = Server::builder(fleet.clone()).admin_token(&token).build().map_err(Failure::local)?;
        let cannot = |error: std::io::Error| {
            Failure::because(format_args!("cannot listen on {}", settings.listen), &error)
                .hint("is another server running there? --listen names another address")
        };
        let listener = TcpListener::bind(settings.listen).await.map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        let (dispatchers, token) = (settings.dispatchers, Secret::new(token));
        Ok(Self { address, urls, token, fleet, dispatchers, server, listener, _locks: locks })
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
        tokio::join!(
            self.server.serve(self.listener, stop.clone()),
            run_fleet(self.fleet, self.dispatchers, stop)
        );
    }
}

/// A back end that cannot be opened, and what to do about one that is elsewhere; one that does not let us in is another
/// server's store.
fn cannot_open(urls: &BackendUrls, error: Error) -> Failure {
    let denied =
        matches!(&error, Error::Invalid { field, .. } if ["unauthorized", "forbidden"].contains(&&**field));
    let refused = matches!(error, Error::Unsupported { .. });
    let failure = Failure::local(error);
    if denied {
        return Failure { hints: Vec::new(), ..failure }
            .hint("`store_token` (AGENTIC_STORE_TOKEN) says who is calling the server that keeps the store")
            .hint("its token has to be of the role dispatcher or admin");
    }
    let all = [Some(&urls.store), urls.registry.as_ref(), urls.allowance.as_ref()];
    let Some(redis) = all.into_iter().flatten().find(|url| matches!(url, StoreUrl::Redis(_))) else {
        return failure;
    };
    match failure.kind {
        _ if refused => failure.hint("change that on the server, or accept it with `redis: {safety: warn}`"),
        Kind::Failed => {
            failure.hint(format!("does a redis answer at {redis}? start it, then this server again")).hint(
                "user, password and database are part of the URL; docs/guide/scaling-out.md lists the errors",
            )
        }
        _ => failure,
    }
}
