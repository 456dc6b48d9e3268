//! What a request brings, read strictly: a refusal names the field and is a problem like any other.

use std::{fmt::Display, str::FromStr};

use agentic_core::error::{Error, Result as CoreResult};
use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::problem::Failure;

/// The one id in a path.
pub(crate) struct Id<T>(pub(crate) T);

impl<S, T> FromRequestParts<S> for Id<T>
where
    S: Send + Sync,
    T: FromStr<Err = Error>,
{
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let text = Path::<String>::from_request_parts(parts, state).await;
        let Path(text) = text.map_err(|_| Failure::malformed("the path is no UTF-8"))?;
        Ok(Self(text.parse()?))
    }
}

/// The query of a URL: each parameter is taken by name, once, and none may be left.
pub(crate) struct Params {
    path: String,
    all: Vec<(String, String)>,
    left: Vec<(String, String)>,
}

impl Params {
    /// Takes a parameter; an empty one is an absent one.
    pub(crate) fn take<T: FromStr>(&mut self, name: &str) -> CoreResult<Option<T>>
    where
        T::Err: Display,
    {
        let Some(at) = self.left.iter().position(|(key, _)| key == name) else { return Ok(None) };
        let (_, text) = self.left.remove(at);
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|error: T::Err| Error::invalid(name, error.to_string()))
    }

    /// Refuses parameters that were not taken: unknown ones, and those that came twice.
    pub(crate) fn end(&self) -> CoreResult<()> {
        match self.left.first() {
            None => Ok(()),
            Some((name, _)) => Err(Error::invalid(shorten(name), "is not a parameter here, or came twice")),
        }
    }

    /// The URL of this request with one parameter set to another value.
    pub(crate) fn url_with(&self, name: &str, value: &str) -> String {
        let kept = self.all.iter().filter(|(key, _)| key != name);
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(kept).append_pair(name, value);
        format!("{}?{}", self.path, query.finish())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let all = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        let Query(all) = all.map_err(|_| Failure::malformed("the query cannot be read"))?;
        Ok(Self { path: parts.uri.path().to_owned(), left: all.clone(), all })
    }
}

/// The JSON of a body, not read yet.
pub(crate) struct Json(Bytes);

impl Json {
    /// Whether it is an array.
    pub(crate) fn is_array(&self) -> bool {
        self.0.trim_ascii_start().starts_with(b"[")
    }

    /// Reads it as a `T`: 400 when it is no JSON; 422 that names the field when it is no `T`, or says more than
    /// a `T` knows.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        let mut json = serde_json::Deserializer::from_slice(&self.0);
        let read = strict(&mut json);
        match json.end() {
            Err(error) if read.is_ok() => Err(not_json(&error)),
            _ => read,
        }
    }

    /// Reads it as a `T` whose field `name` may be left out, for the path says `id`; if it is there, it must agree.
    pub(crate) fn read_with<T: DeserializeOwned>(&self, name: &str, id: &str) -> Result<T, Failure> {
        let mut value = self.read::<Value>()?;
        if let Value::Object(fields) = &mut value {
            let said = fields.entry(name).or_insert_with(|| id.into());
            if said.as_str() != Some(id) {
                return Err(Error::invalid(name, "must be that of the path, or absent").into());
            }
        }
        strict(value)
    }
}

impl<S: Send + Sync> FromRequest<S> for Json {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let is_json = is_json(request.headers());
        let body = Bytes::from_request(request, state).await.map_err(|refused| match refused.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Failure::too_large(),
            _ => Failure::malformed("the body broke off"),
        })?;
        if !is_json && !body.is_empty() {
            return Err(Failure::not_json());
        }
        Ok(Self(body))
    }
}

/// A body that must be there.
pub(crate) struct Body<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        Json::from_request(request, state).await?.read().map(Self)
    }
}

/// A body that may be empty, and then says nothing.
pub(crate) struct MaybeBody<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for MaybeBody<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let json = Json::from_request(request, state).await?;
        if json.0.is_empty() { Ok(Self(T::default())) } else { json.read().map(Self) }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

/// Deserialises a `T`, and refuses fields that it does not know, at any depth.
fn strict<'de, T, D>(json: D) -> Result<T, Failure>
where
    T: DeserializeOwned,
    D: serde::Deserializer<'de, Error = serde_json::Error>,
{
    let mut track = serde_path_to_error::Track::new();
    let mut unknown = None;
    let tracked = serde_path_to_error::Deserializer::new(json, &mut track);
    let read = serde_ignored::deserialize(tracked, |path| {
        unknown.get_or_insert_with(|| place(&path));
    });
    match (read, unknown) {
        (Ok(value), None) => Ok(value),
        (Ok(_), Some(field)) => Err(Error::invalid(shorten(&field), "is not a field here").into()),
        (Err(error), _) if error.is_data() => Err(bad_field(&track.path().to_string(), &error)),
        (Err(error), _) => Err(not_json(&error)),
    }
}

fn not_json(error: &serde_json::Error) -> Failure {
    Failure::malformed(format!("the body is no JSON: {error}"))
}

fn bad_field(path: &str, error: &serde_json::Error) -> Failure {
    let said = error.to_string();
    // A field that is missing, or there twice, is not on the path; the message names it.
    let named = ["missing field `", "duplicate field `"].iter().find_map(|words| said.strip_prefix(words));
    let named = named.and_then(|rest| rest.split('`').next());
    let field = match (path, named) {
        (".", Some(field)) => field.to_owned(),
        (path, Some(field)) => format!("{path}.{field}"),
        (".", None) => "request".to_owned(),
        (path, None) => path.to_owned(),
    };
    Error::invalid(shorten(&field), said).into()
}

/// Where a field stands, such as `attempts[0].usage`.
fn place(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path;
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}[{index}]", place(parent)),
        Path::Map { parent, key } => match place(parent) {
            above if above.is_empty() => key.clone(),
            above => format!("{above}.{key}"),
        },
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
            place(parent)
        }
    }
}

/// Cuts what a stranger sent, so that it can stand in an answer.
fn shorten(text: &str) -> String {
    text.chars().take(100).collect()
}
