//! One call: sent, repeated where that is harmless, bounded, and its answer told from a problem.

use std::{fmt::Display, time::Duration};

use agentic_core::{
    api::Problem,
    error::{Error, Kind, Result},
    text::visible,
};
use backon::Retryable as _;
use reqwest::{
    Method, Response, StatusCode, Url,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{Client, page};

/// The largest answer that is read, in bytes: more than a hundred of the largest tasks.
const MAX_ANSWER: usize = 256 << 20;
/// The most pages of one list.
const MAX_PAGES: usize = 1_000;

/// A call that is being put together. A GET or a PUT can be repeated; others where [`Call::repeat_if`] says so.
pub(crate) struct Call {
    client: Client,
    request: reqwest::Request,
    repeatable: bool,
    limit: Duration,
}

/// What a call that succeeded brought.
pub(crate) struct Answer {
    pub(crate) headers: HeaderMap,
    body: Vec<u8>,
    what: String,
}

impl Call {
    pub(crate) fn new(client: Client, method: Method, url: Url) -> Self {
        let repeatable = matches!(method, Method::GET | Method::PUT);
        let limit = client.timeout();
        Self { client, request: reqwest::Request::new(method, url), repeatable, limit }
    }

    pub(crate) fn query(mut self, name: &str, value: impl Display) -> Self {
        self.request.url_mut().query_pairs_mut().append_pair(name, &value.to_string());
        self
    }

    pub(crate) fn maybe_query(self, name: &str, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    pub(crate) fn header(mut self, name: HeaderName, value: &str) -> Result<Self> {
        let wrong = |_| Error::invalid(name.as_str(), "must be printable ASCII");
        let value = HeaderValue::try_from(value).map_err(wrong)?;
        self.request.headers_mut().insert(name, value);
        Ok(self)
    }

    pub(crate) fn body(mut self, body: &impl Serialize) -> Result<Self> {
        let json =
            serde_json::to_vec(body).map_err(|error| Error::backend_from("writing the request", error))?;
        self.request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        *self.request.body_mut() = Some(json.into());
        Ok(self)
    }

    /// Lets it be repeated: doing it twice does what doing it once does.
    pub(crate) fn repeat_if(self, repeatable: bool) -> Self {
        Self { repeatable, ..self }
    }

    /// Lets the server take this long by the call's own wish.
    pub(crate) fn wait(self, wait: Duration) -> Self {
        Self { limit: self.limit + wait, ..self }
    }

    /// Sends it, and reads its answer.
    pub(crate) async fn send(self) -> Result<Answer> {
        let retries = if self.repeatable { self.client.retries() } else { 0 };
        let calls = (|| self.once()).retry(self.client.pauses().with_max_times(retries));
        let calls = calls.when(Error::is_retryable).notify(|error, pause| {
            tracing::debug!(error = error as &dyn std::error::Error, ?pause, "calling again");
        });
        let late = |elapsed| Error::unavailable_from(self.server(), elapsed);
        tokio::time::timeout(self.limit, calls).await.map_err(late)?
    }

    /// Sends it, and reads its answer as a `T`.
    pub(crate) async fn answer<T: DeserializeOwned>(self) -> Result<T> {
        self.send().await?.read()
    }

    /// Sends it, and leaves its answer alone.
    pub(crate) async fn done(self) -> Result<()> {
        self.send().await.map(drop)
    }

    /// Reads a list to its end, page after page.
    pub(crate) async fn list<T: DeserializeOwned>(self) -> Result<Vec<T>> {
        let (client, mut next, mut all) = (self.client.clone(), Some(self), Vec::new());
        for _ in 0..MAX_PAGES {
            let Some(call) = next else { return Ok(all) };
            let answer = call.send().await?;
            all.extend(answer.read::<Vec<T>>()?);
            let url = page::next(client.base_url(), &answer.headers)?;
            next = url.map(|url| Self::new(client.clone(), Method::GET, url));
        }
        Err(Error::backend(format!("reading a list of more than {MAX_PAGES} pages")))
    }

    /// Sends it once, for an answer that goes on; a problem is an error.
    pub(crate) async fn open(&self) -> Result<Response> {
        let opened = async {
            let response = self.execute().await?;
            if response.status().is_success() { Ok(response) } else { Err(self.failure(response).await) }
        };
        let late = |elapsed| Error::unavailable_from(self.server(), elapsed);
        tokio::time::timeout(self.limit, opened).await.map_err(late)?
    }

    async fn once(&self) -> Result<Answer> {
        let response = self.execute().await?;
        if !response.status().is_success() {
            return Err(self.failure(response).await);
        }
        let headers = response.headers().clone();
        let body = self.read(response).await?;
        let what = format!("{} {}", self.request.method(), self.request.url().path());
        Ok(Answer { headers, body, what })
    }

    async fn execute(&self) -> Result<Response> {
        let copy = self.request.try_clone();
        let copy = copy.ok_or_else(|| Error::backend("sending a body that is not in memory"))?;
        self.client.http().execute(copy).await.map_err(|error| self.away(error))
    }

    async fn read(&self, mut response: Response) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.away(error))? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(Error::backend("reading an answer above 256 MiB"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// What an answer that is no success means.
    async fn failure(&self, response: Response) -> Error {
        let status = response.status();
        if status.is_redirection() {
            let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("elsewhere");
            let to: String = visible(to).chars().take(200).collect();
            return Error::invalid(
                "base_url",
                format!("the server sends its callers to {to}; call that one"),
            );
        }
        let body = match self.read(response).await {
            Ok(body) => body,
            Err(error) => return error,
        };
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => problem.into(),
            Err(_) => self.strange(status),
        }
    }

    /// An answer that agentic does not give: of something in front of it, or in its place.
    fn strange(&self, status: StatusCode) -> Error {
        match status {
            StatusCode::NOT_FOUND => Error::not_found(Kind::Route, self.request.url().path()),
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Error::unavailable(format!("{} ({status})", self.server())),
            _ if status.is_server_error() => Error::backend(format!("{} ({status})", self.server())),
            _ => Error::invalid("request", format!("was answered by {} with {status}", self.server())),
        }
    }

    /// The server is not there, or went away.
    pub(crate) fn away(&self, error: reqwest::Error) -> Error {
        Error::unavailable_from(self.server(), error.without_url())
    }

    pub(crate) fn server(&self) -> String {
        format!("the server at {}", self.client.base_url())
    }
}

impl Answer {
    /// The body as a `T`.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Error::backend_from(format!("reading the answer to {}", self.what), error))
    }
}
