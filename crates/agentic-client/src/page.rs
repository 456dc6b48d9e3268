//! Pages of lists: `Link: <…>; rel="next"` (RFC 8288).

use agentic_core::{
    error::{Error, Result},
    task::{Task, TaskCursor},
};
use reqwest::{
    Url,
    header::{HeaderMap, LINK},
};

/// A page of tasks.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskPage {
    /// Ascending by creation and id.
    pub tasks: Vec<Task>,
    /// Where the next page begins; `None` on the last.
    pub next: Option<TaskCursor>,
}

/// The next page of a list, if there is one.
///
/// # Errors
/// `Backend` for a page at another server than `base`: the token is not for that one.
pub(crate) fn next(base: &Url, headers: &HeaderMap) -> Result<Option<Url>> {
    let mut links = headers.get_all(LINK).into_iter().filter_map(|link| link.to_str().ok());
    let Some(target) = links.find_map(next_target) else { return Ok(None) };
    match base.join(target) {
        Ok(url) if url.origin() == base.origin() => Ok(Some(url)),
        _ => Err(Error::backend("following a list to another server")),
    }
}

/// The cursor that the next page begins at.
pub(crate) fn next_cursor(base: &Url, headers: &HeaderMap) -> Result<Option<TaskCursor>> {
    let Some(url) = next(base, headers)? else { return Ok(None) };
    let cursor = url.query_pairs().find(|(name, _)| name == "cursor");
    let (_, cursor) = cursor.ok_or_else(|| Error::backend("reading a link without a cursor"))?;
    cursor.parse().map(Some).map_err(|error: Error| Error::backend_from("reading a link", error))
}

/// The target of the first link with the relation `next`.
fn next_target(link: &str) -> Option<&str> {
    let mut rest = link;
    while let Some((_, link)) = rest.split_once('<') {
        let (target, link) = link.split_once('>')?;
        let (params, others) = link.split_once(',').unwrap_or((link, ""));
        let is_next = |param: &str| {
            let (name, value) = param.split_once('=').unwrap_or_default();
            name.trim().eq_ignore_ascii_case("rel") && value.trim().trim_matches('"') == "next"
        };
        if params.split(';').any(is_next) {
            return Some(target);
        }
        rest = others;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found() {
        assert_eq!(
            next_target(r#"</api/tasks?cursor=1/a&labels=x,y>; rel="next""#),
            Some("/api/tasks?cursor=1/a&labels=x,y")
        );
        assert_eq!(next_target(r#"</a>; rel="prev", </b>; title=x; rel=next"#), Some("/b"));
        for none in ["", r#"</a>; rel="prev""#, "</a", "<", r#"rel="next""#] {
            assert_eq!(next_target(none), None, "{none}");
        }
    }

    #[test]
    fn a_page_elsewhere_is_refused() {
        let base: Url = "http://here:1/api".parse().unwrap();
        let link =
            |to: &str| HeaderMap::from_iter([(LINK, format!("<{to}>; rel=\"next\"").parse().unwrap())]);
        assert_eq!(next(&base, &link("/x?y=1")).unwrap().unwrap().as_str(), "http://here:1/x?y=1");
        for elsewhere in ["http://there:1/x", "https://here:1/x", "http://here:2/x", "//there/x"] {
            assert!(next(&base, &link(elsewhere)).is_err(), "{elsewhere}");
        }
        assert!(next_cursor(&base, &link("/x?y=1")).is_err());
        assert!(next_cursor(&base, &link("/x?cursor=nonsense")).is_err());
        assert_eq!(next_cursor(&base, &link("/x?cursor=5%2Fa")).unwrap().unwrap().id.as_str(), "a");
    }
}
