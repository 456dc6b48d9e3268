//! The URL of a store.

use agentic_core::error::{Error, Result};
use fred::types::config::Config;

/// What a URL may begin with.
const SCHEMES: [&str; 6] =
    ["redis", "rediss", "redis-cluster", "rediss-cluster", "redis-sentinel", "rediss-sentinel"];

/// What may stand behind the `?` of such a URL; fred ignores the rest.
fn parameters(scheme: &str) -> &'static [&'static str] {
    match scheme {
        "redis-cluster" | "rediss-cluster" => &["node"],
        "redis-sentinel" | "rediss-sentinel" => {
            &["node", "sentinelServiceName", "sentinelUsername", "sentinelPassword"]
        }
        _ => &[],
    }
}

/// Where a URL leads.
///
/// # Errors
/// `Invalid`, saying what is known, and never what is in the URL: it may hold a password.
pub(crate) fn parse(url: &str) -> Result<Config> {
    let wrong = |why: &str| Error::invalid("store", format!("is no redis URL: {why}"));
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
    if !SCHEMES.contains(&scheme) {
        return Err(wrong(&format!("it must begin with one of {}://", SCHEMES.join("://, "))));
    }
    let (place, query) = url.split_once('?').unwrap_or((url, ""));
    let pairs = || {
        query
            .split('&')
            .filter(|part| !part.is_empty())
            .map(|part| part.split_once('=').unwrap_or((part, "")))
    };
    let is_place = |node: &str| node.rsplit_once(':').is_some_and(|(host, _)| !host.contains('@'));
    if pairs().any(|(name, value)| name == "node" && !is_place(value)) {
        return Err(wrong("a node is HOST:PORT; user and password stand before the first host"));
    }
    // What fred says may quote the URL.
    let config = Config::from_url(url).map_err(|error| {
        let quotes = error.details().contains(['@', '=']);
        let said = if quotes { "it cannot be read" } else { error.details() };
        wrong(&format!("{said}; in a user, a password or a name write %2F %3A %40 %23 %3F for / : @ # ?"))
    })?;
    let known = parameters(scheme);
    if pairs().any(|(name, _)| !known.contains(&name)) {
        let known = if known.is_empty() { "nothing".to_owned() } else { known.join(", ") };
        let why =
            format!("behind the ? of {scheme}:// may stand {known}; the database is /NUMBER behind the host");
        return Err(wrong(&why));
    }
    let path = place.split("://").nth(1).and_then(|place| place.split_once('/')).map_or("", |(_, path)| path);
    if scheme.ends_with("-cluster") && !path.is_empty() {
        return Err(wrong("a cluster has one database; leave out what stands behind the host"));
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(url: &str) -> String {
        parse(url).unwrap_err().to_string()
    }

    #[test]
    fn a_url_says_all_that_it_may() {
        for good in [
            "redis://h",
            "rediss://user:p%2F%23%40@h:6380/3",
            "redis-cluster://h:1?node=i:2&node=j:3",
            "redis-sentinel://h:1/2?sentinelServiceName=s&node=i:2&sentinelUsername=u&sentinelPassword=p",
        ] {
            assert!(parse(good).is_ok(), "{good}: {:?}", parse(good));
        }
        assert!(why("http://h").contains("redis-sentinel://"));
    }

    #[test]
    fn what_would_be_ignored_is_refused() {
        for (bad, said) in [
            ("redis://h?database=3", "may stand nothing; the database is /NUMBER"),
            ("redis://h:1/2?foo", "may stand nothing"),
            ("redis://h/3?node=i:2", "may stand nothing"),
            ("redis-cluster://h:1?node=i:2&nodes=j:3", "may stand node;"),
            ("redis-cluster://h:1/3?node=i:2", "a cluster has one database"),
            ("redis-cluster://h:1?sentinelServiceName=x", "may stand node;"),
            ("redis-sentinel://h:1?sentinelServiceName=x&n=i:2", "node, sentinelServiceName"),
            ("redis-cluster://h:1?node=u:secret@i:2", "a node is HOST:PORT"),
        ] {
            let why = why(bad);
            assert!(why.contains(said) && !why.contains("secret"), "{bad}: {why}");
        }
    }

    #[test]
    fn a_password_is_to_be_encoded_and_not_shown() {
        for bad in ["redis://u:se/cret@h", "redis://u:se#cret@h:1", "redis://u:se?cret@h:1"] {
            let why = why(bad);
            assert!(why.contains("%2F %3A %40 %23") && !why.contains("cret"), "{bad}: {why}");
        }
    }
}
