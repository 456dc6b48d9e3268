//! How a client is set up.

use std::{fmt, sync::Arc, time::Duration};

use agentic_core::error::{Error, Result};
use backon::ExponentialBuilder;
use reqwest::{
    Url,
    header::{AUTHORIZATION, HeaderMap, HeaderValue},
    redirect,
};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;

use crate::Client;

/// Makes a [`Client`]; from [`Client::builder`].
#[must_use]
#[derive(Clone)]
pub struct ClientBuilder {
    base_url: String,
    token: Option<String>,
    timeout: Duration,
    retries: usize,
    retry_pause: Duration,
}

impl ClientBuilder {
    pub(crate) fn new(base_url: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            token: None,
            timeout: Duration::from_secs(10),
            retries: 3,
            retry_pause: Duration::from_millis(100),
        }
    }

    /// The token to show; default none.
    pub fn token(self, token: impl Into<String>) -> Self {
        Self { token: Some(token.into()), ..self }
    }

    /// The most that a call may take with its repetitions, a long poll beyond its wait; default 10 s.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// How often a call that can be repeated is, when the server is away; default 3.
    pub fn retries(self, retries: usize) -> Self {
        Self { retries, ..self }
    }

    /// The pause before the first repetition or reconnection; it doubles, with jitter, up to 5 s; default 100 ms.
    pub fn retry_pause(self, retry_pause: Duration) -> Self {
        Self { retry_pause, ..self }
    }

    /// The client.
    ///
    /// # Errors
    /// `Invalid` for a base URL that is none, or a token that cannot stand in a header; `Backend` when the system's
    /// certificates cannot be loaded.
    pub fn build(self) -> Result<Client> {
        let base = base_url(&self.base_url)?;
        let mut headers = HeaderMap::new();
        if let Some(token) = &self.token {
            let header = HeaderValue::try_from(format!("Bearer {token}"));
            let mut header = header.map_err(|_| Error::invalid("token", "must be printable ASCII"))?;
            header.set_sensitive(true);
            headers.insert(AUTHORIZATION, header);
        }
        // Neither proxies nor anything else comes from the environment, and a redirect is an error: the token is
        // for one server only.
        let http = reqwest::Client::builder()
            .user_agent(concat!("agentic/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .tls_backend_preconfigured(tls(base.scheme() == "https")?)
            .build()
            .map_err(|error| Error::backend_from("setting up the HTTP client", error))?;
        let pauses = ExponentialBuilder::new()
            .with_min_delay(self.retry_pause)
            .with_max_delay(Duration::from_secs(5))
            .with_jitter();
        Ok(Client::new(http, base, self.timeout, pauses, self.retries))
    }
}

impl fmt::Debug for ClientBuilder {
    /// Leaves the token out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder").field("base_url", &self.base_url).finish_non_exhaustive()
    }
}

fn base_url(text: &str) -> Result<Url> {
    let wrong = |why: &str| Error::invalid("base_url", why);
    let url: Url = text.parse().map_err(|_| wrong("must be a URL such as http://localhost:8080"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("must begin with http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("must not contain credentials; give the token apart"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("must not have a query or a fragment"));
    }
    Ok(url)
}

/// TLS by ring, without touching the process's default; the system's certificates are loaded only where needed.
fn tls(needed: bool) -> Result<ClientConfig> {
    let failed = |error| Error::backend_from("setting up TLS", error);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().map_err(failed)?;
    let config = if needed {
        config.with_platform_verifier().map_err(failed)?
    } else {
        config.with_root_certificates(RootCertStore::empty())
    };
    Ok(config.with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls_are_checked() {
        for good in ["http://localhost:8080", "https://h/agentic/", "http://[::1]:1"] {
            assert!(Client::builder(good).build().is_ok(), "{good}");
        }
        for bad in
            ["", "localhost:8080", "ftp://h", "http://me@h", "http://me:pw@h", "http://h/?x=1", "http://h/#x"]
        {
            let error = Client::builder(bad).build().unwrap_err();
            assert!(matches!(&error, Error::Invalid { field, .. } if field == "base_url"), "{bad}: {error}");
        }
    }

    #[test]
    fn the_token_is_never_shown() {
        let builder = Client::builder("http://h").token("s3cret");
        let client = builder.clone().build().unwrap();
        let shown = format!("{builder:?} {client:?} {:?}", client.http());
        assert!(!shown.contains("s3cret"), "{shown}");
        let error = builder.token("s3cret\n").build().unwrap_err();
        assert!(!format!("{error:?}").contains("s3cret"));
    }
}
