//! The client itself.

use std::{fmt, sync::Arc, time::Duration};

use backon::ExponentialBuilder;
use reqwest::{Method, Url};

use crate::{ClientBuilder, call::Call};

/// A client of one server; clones share its connections.
///
/// Its errors are those of the ports: what the server said, or `Unavailable` when it could not be reached in time.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    http: reqwest::Client,
    base: Url,
    timeout: Duration,
    pauses: ExponentialBuilder,
    retries: usize,
}

impl Client {
    /// Begins a client of the server at `base_url`, such as `http://localhost:8080`.
    pub fn builder(base_url: impl Into<String>) -> ClientBuilder {
        ClientBuilder::new(base_url)
    }

    pub(crate) fn new(
        http: reqwest::Client,
        base: Url,
        timeout: Duration,
        pauses: ExponentialBuilder,
        retries: usize,
    ) -> Self {
        Self(Arc::new(Inner { http, base, timeout, pauses, retries }))
    }

    /// Where the server is.
    pub fn base_url(&self) -> &Url {
        &self.0.base
    }

    pub(crate) fn http(&self) -> &reqwest::Client {
        &self.0.http
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.0.timeout
    }

    pub(crate) fn pauses(&self) -> ExponentialBuilder {
        self.0.pauses
    }

    pub(crate) fn retries(&self) -> usize {
        self.0.retries
    }

    /// A call to the route at these path segments.
    pub(crate) fn call(&self, method: Method, path: &[&str]) -> Call {
        let mut url = self.0.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        Call::new(self.clone(), method, url)
    }

    pub(crate) fn get(&self, path: &[&str]) -> Call {
        self.call(Method::GET, path)
    }

    pub(crate) fn post(&self, path: &[&str]) -> Call {
        self.call(Method::POST, path)
    }
}

impl fmt::Debug for Client {
    /// Leaves the token out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base_url", &self.0.base.as_str()).finish_non_exhaustive()
    }
}
