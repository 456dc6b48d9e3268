//! The URL of a store.

use agentic_core::error::{Error, Result};
use fred::types::config::Config;

/// What a URL may begin with.
const SCHEMES: [&str; 6] =
    ["redis", "rediss", "redis-cluster", "rediss-cluster", "redis-sentinel", "rediss-sentinel"];

/// What may stand behind its `?`; fred ignores the rest.
const PARAMETERS: [&str; 4] = ["node", "sentinelServiceName", "sentinelUsername", "sentinelPassword"];

/// Where a URL leads.
///
/// # Errors
/// `Invalid`, saying what is known, and never what is in the URL: it may hold a password.
pub(crate) fn parse(url: &str) -> Result<Config> {
    let wrong = |why: &str| Error::invalid("store", format!("is no redis URL: {why}"));
    let known = url.split_once("://").is_some_and(|(scheme, _)| SCHEMES.contains(&scheme));
    if !known {
        return Err(wrong(&format!("it must begin with one of {}://", SCHEMES.join("://, "))));
    }
    let config = Config::from_url(url).map_err(|error| {
        wrong(&format!(
            "{}; in a user, a password or a name write %2F %3A %40 %23 %3F for / : @ # ?",
            error.details()
        ))
    })?;
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let names = query.split('&').filter(|part| !part.is_empty()).map(|part| part.split('=').next());
    if names.into_iter().flatten().any(|name| !PARAMETERS.contains(&name)) {
        let known = PARAMETERS.join(", ");
        return Err(wrong(&format!(
            "behind its ? may stand {known}; the database is /NUMBER behind the host"
        )));
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
        for bad in ["redis://h?database=3", "redis://h:1/2?foo", "redis-cluster://h:1?node=i:2&nodes=j:3"] {
            let why = why(bad);
            assert!(why.contains("node, sentinelServiceName") && why.contains("/NUMBER"), "{bad}: {why}");
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
