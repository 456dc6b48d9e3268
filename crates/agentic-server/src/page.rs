//! Pages of lists: `?limit&cursor`, and `Link: <…>; rel="next"` (RFC 8288) where there is more.

use agentic_core::{
    error::{Error, Result},
    task::Page,
};
use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::extract::Params;

/// A page of a list, as an array.
pub(crate) struct Listing<T> {
    items: Vec<T>,
    next: Option<String>,
}

impl<T> Listing<T> {
    /// A page that the next one follows at this URL.
    pub(crate) fn new(items: Vec<T>, next: Option<String>) -> Self {
        Self { items, next }
    }

    /// The page of a whole list, ascending by `key`, that `params` ask for.
    ///
    /// # Errors
    /// `Invalid` for parameters that are none.
    pub(crate) fn by_key(mut all: Vec<T>, mut params: Params, key: impl Fn(&T) -> &str) -> Result<Self> {
        let limit = limit(&mut params)?;
        let cursor: Option<String> = params.take("cursor")?;
        params.end()?;
        if let Some(cursor) = cursor {
            all.retain(|item| key(item) > cursor.as_str());
        }
        let more = all.len() > limit;
        all.truncate(limit);
        let last = all.last().filter(|_| more).map(|item| params.url_with("cursor", key(item)));
        Ok(Self::new(all, last))
    }

    /// The page of a whole list without a key; its cursor is a position.
    ///
    /// # Errors
    /// `Invalid` for parameters that are none.
    pub(crate) fn by_position(all: Vec<T>, mut params: Params) -> Result<Self> {
        let limit = limit(&mut params)?;
        let begin = params.take::<usize>("cursor")?.unwrap_or(0).min(all.len());
        params.end()?;
        let end = begin.saturating_add(limit);
        let next = (end < all.len()).then(|| params.url_with("cursor", &end.to_string()));
        Ok(Self::new(all.into_iter().skip(begin).take(limit).collect(), next))
    }
}

/// How many rows a page is to have: 1–1,000, 100 unless asked for otherwise.
///
/// # Errors
/// `Invalid`.
pub(crate) fn limit(params: &mut Params) -> Result<usize> {
    let limit = params.take("limit")?.unwrap_or(Page::DEFAULT_LIMIT);
    if limit == 0 || limit > Page::MAX_LIMIT {
        return Err(Error::invalid("limit", "must be 1 to 1000"));
    }
    Ok(limit)
}

/// How many agents an explanation tells one by one: 0–1,000, 20 unless asked for otherwise.
///
/// # Errors
/// `Invalid`.
pub(crate) fn agents(params: &mut Params) -> Result<usize> {
    Ok(params.take("agents")?.unwrap_or(20))
}

impl<T: Serialize> IntoResponse for Listing<T> {
    fn into_response(self) -> Response {
        let mut response = axum::Json(self.items).into_response();
        let link = self.next.map(|url| HeaderValue::try_from(format!("<{url}>; rel=\"next\"")));
        if let Some(Ok(link)) = link {
            response.headers_mut().insert(header::LINK, link);
        }
        response
    }
}
