//! The server: how it is set up, and how it runs.

use std::{fmt, pin::pin, time::Duration};

use agentic_core::error::{Error, Result};
use agentic_dispatch::Fleet;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{app::App, auth::Digest, router::router};

/// The most connections at once; further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 16_384;
/// How long a connection may be without a whole request head; longer than clients keep idle connections, so that
/// they and not the server close them.
const IDLE: Duration = Duration::from_mins(2);
/// The most bytes of one request's head.
const MAX_HEAD: usize = 64 << 10;
/// How long accepting pauses after the system refused it, for want of file descriptors as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Makes a [`Server`]; from [`Server::builder`].
#[must_use]
pub struct ServerBuilder {
    fleet: Fleet,
    admin: Option<String>,
    timeout: Duration,
    grace: Duration,
    max_skew: Option<Duration>,
}

impl ServerBuilder {
    /// The token of who may do everything; no default, it must be given.
    pub fn admin_token(self, token: impl Into<String>) -> Self {
        Self { admin: Some(token.into()), ..self }
    }

    /// How long a request may take, a long poll beyond its wait; default 30 s.
    pub fn request_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// How long requests may take that run when the server is to end; default 10 s.
    pub fn grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }

    /// How far the clock of a caller of `/internal/v1` may be from the server's, `None` = any; default 5 s.
    pub fn max_clock_skew(self, max_skew: Option<Duration>) -> Self {
        Self { max_skew, ..self }
    }

    /// The server.
    ///
    /// # Errors
    /// `Invalid` for a token that is missing, shorter than 16 characters, or cannot stand in a header.
    pub fn build(self) -> Result<Server> {
        let admin = self.admin.unwrap_or_default();
        if admin.len() < 16 || !admin.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::invalid("admin_token", "must be at least 16 printable ASCII characters"));
        }
        let Self { fleet, timeout, grace, max_skew, .. } = self;
        let stop = CancellationToken::new();
        Ok(Server { app: App { fleet, admin: Digest::of(&admin), timeout, max_skew, stop }, grace })
    }
}

impl fmt::Debug for ServerBuilder {
    /// Leaves the token out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder").finish_non_exhaustive()
    }
}

/// The HTTP API of one fleet.
pub struct Server {
    app: App,
    grace: Duration,
}

impl Server {
    /// Begins a server of `fleet`.
    pub fn builder(fleet: Fleet) -> ServerBuilder {
        let (timeout, grace) = (Duration::from_secs(30), Duration::from_secs(10));
        ServerBuilder { fleet, admin: None, timeout, grace, max_skew: Some(Duration::from_secs(5)) }
    }

    /// Answers what comes to `listener` until `stop` is cancelled: then nothing more is accepted, streams and long
    /// polls end at once, and requests that run have the grace to end before they are cut off.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        let service = TowerToHyperService::new(router(App { stop: stop.clone(), ..self.app }));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                Some(_) = connections.join_next() => continue,
                accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, service.clone(), stop.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    let _ = stop.run_until_cancelled(tokio::time::sleep(ACCEPT_PAUSE)).await;
                }
            }
        }
        drop(listener);
        let drained = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(self.grace, drained).await.is_err() {
            tracing::warn!(connections = connections.len(), "requests were cut off at the end of the grace");
            connections.shutdown().await;
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("fleet", &self.app.fleet).finish_non_exhaustive()
    }
}

/// Answers the requests of one connection; after `stop` only the one that runs.
async fn connection(stream: TcpStream, service: TowerToHyperService<axum::Router>, stop: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection cannot be set to send at once");
    }
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(IDLE).max_buf_size(MAX_HEAD);
    let mut served = pin!(http.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = &error as &dyn std::error::Error, "a connection broke");
    }
}
