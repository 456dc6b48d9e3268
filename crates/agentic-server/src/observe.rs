//! What surrounds every request: its id, its span, its time limit, and what the log says of its end.

use std::{any::Any, time::Duration};

use agentic_core::error::Error;
use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::{app::App, problem::Failure};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest request id that is taken over from a caller.
const MAX_ID: usize = 64;

/// Runs a request in a span of its own, names it to its caller, and logs why it failed.
///
/// The span holds the route, never the path, the query or a header: those may be secret, and are a stranger's text.
pub(crate) async fn observe(State(app): State<App>, request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let span = tracing::info_span!("request", id = ?id, method = %request.method(), route);
    let began = Instant::now();
    let mut response = next.run(request).instrument(span.clone()).await;
    let _entered = span.enter();
    let status = response.status();
    let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let error = response.extensions().get::<Error>();
    let retry_after = error.and_then(|error| retry_after(&app, error));
    if status.is_server_error() {
        // What is behind it is named apart: as JSON, only an error's own words are logged.
        let error = error.map(|error| error as &dyn std::error::Error);
        let cause = error.and_then(std::error::Error::source).map(tracing::field::display);
        tracing::error!(status = status.as_u16(), millis, error, cause, "failed");
    } else {
        tracing::debug!(status = status.as_u16(), millis, "answered");
    }
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if let Some(secs) = retry_after {
        headers.insert(header::RETRY_AFTER, secs.into());
    }
    response
}

/// When the same request is worth another try, in seconds from now.
fn retry_after(app: &App, error: &Error) -> Option<u64> {
    if error.is_retryable() {
        return Some(1);
    }
    let wait = error.retry_at()?.since(app.fleet.now());
    Some(agentic_core::task::whole_secs(wait).max(1))
}

/// The caller's id of its request, where it is a plain one; else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let is_plain = |id: &[u8]| {
        (1..=MAX_ID).contains(&id.len())
            && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
    };
    match headers.get(REQUEST_ID) {
        Some(id) if is_plain(id.as_bytes()) => id.clone(),
        _ => HeaderValue::try_from(format!("{:032x}", fastrand::u128(..)))
            .unwrap_or(HeaderValue::from_static("none")),
    }
}

/// Ends a request that takes too long.
pub(crate) async fn limit_time(State(limit): State<Duration>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(late) => Failure::from(Error::unavailable_from("an answer in time", late)).into_response(),
    }
}

/// Answers for a handler that panicked.
pub(crate) fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let said = panic.downcast_ref::<&str>().copied();
    let said = said.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(panic = said.unwrap_or("something that is no text"), "a handler panicked");
    Failure::panicked().into_response()
}
