//! What a handler answers when it does not do what was asked.

use agentic_core::{
    api::Problem,
    error::{Error, Kind},
};
use axum::{
    http::{HeaderName, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};

/// The longest part of what a stranger sent that an answer repeats, in characters.
const MAX_REPEATED: usize = 200;

/// A problem on its way out: `application/problem+json`.
#[derive(Debug)]
pub(crate) struct Failure(Box<Inner>);

#[derive(Debug)]
struct Inner {
    problem: Problem,
    /// What it was made of: the response carries it, so that it is logged and timed in one place.
    error: Option<Error>,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Failure {
    fn new(problem: Problem) -> Self {
        Self(Box::new(Inner { problem, error: None, header: None }))
    }

    /// The body or the path cannot be read at all: 400.
    pub(crate) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(Problem::new(400, "Bad Request", "malformed", detail))
    }

    /// Nobody, or nobody we know: 401.
    pub(crate) fn unauthorized(detail: &str, challenge: &'static str) -> Self {
        let mut failure = Self::new(Problem::new(401, "Unauthorized", "unauthorized", detail));
        failure.0.header = Some((header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge)));
        failure
    }

    /// Somebody whose token does not allow this: 403.
    pub(crate) fn forbidden() -> Self {
        Self::new(Problem::new(403, "Forbidden", "forbidden", "the role of this token does not allow that"))
    }

    /// There is nothing at this path: 404.
    pub(crate) fn no_route(uri: &Uri) -> Self {
        let path = uri.path().chars().take(MAX_REPEATED).collect::<String>();
        Error::not_found(Kind::Route, path).into()
    }

    /// Not with this method: 405.
    pub(crate) fn method_not_allowed() -> Self {
        let detail = "this path has other methods: see the header Allow";
        Self::new(Problem::new(405, "Method Not Allowed", "method_not_allowed", detail))
    }

    /// The body is over its bound: 413.
    pub(crate) fn too_large() -> Self {
        let detail = "a body may have at most 1 MiB; send less at once";
        Self::new(Problem::new(413, "Content Too Large", "too_large", detail))
    }

    /// The body is no JSON by its own word: 415.
    pub(crate) fn not_json() -> Self {
        let detail = "the body must be JSON: send the header Content-Type: application/json";
        Self::new(Problem::new(415, "Unsupported Media Type", "unsupported_media_type", detail))
    }

    /// The clock of a caller of `/internal/v1` is too far from ours: 422.
    pub(crate) fn clock_skew(detail: String) -> Self {
        let problem = Problem::new(422, "Unprocessable Content", "clock_skew", detail);
        Self::new(Problem { field: Some("now".to_owned()), ..problem })
    }

    /// A handler panicked: 500.
    pub(crate) fn panicked() -> Self {
        Error::backend("a handler").into()
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let problem = Problem::from(&error);
        Self(Box::new(Inner { problem, error: Some(error), header: None }))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Inner { problem, error, header } = *self.0;
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(problem)).into_response();
        let json = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response.headers_mut().extend(header);
        if let Some(error) = error {
            response.extensions_mut().insert(error);
        }
        response
    }
}
