//! The Go library's file of settings, `~/.core/agentic.yaml`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Secret, file};
use crate::{failure::Failure, store::without_password};

/// What the Go library writes there. Empty values are absent ones.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct GoFile {
    base_url: Option<String>,
    token: Option<Secret>,
    default_project: Option<String>,
    agent_id: Option<String>,
    store_backend: Option<String>,
    store_path: Option<String>,
    redis_addr: Option<String>,
    registry_backend: Option<String>,
    registry_path: Option<String>,
    registry_redis_addr: Option<String>,
}

/// What the file sets under our names, and a word on each key that has another one.
///
/// # Errors
/// As [`file::parse`].
pub(super) fn translate(text: &str, name: &str) -> Result<(Map<String, Value>, Vec<String>), Failure> {
    let mut keys = file::keys::<GoFile>(text, name)?;
    keys.retain(|_, value| value.as_str().is_some_and(|text| !text.is_empty()));
    let mut words = Vec::new();
    for (backend, path, address, ours) in [
        ("store_backend", "store_path", "redis_addr", "allowance"),
        ("registry_backend", "registry_path", "registry_redis_addr", "registry"),
    ] {
        let mut take = |key: &str| keys.remove(key).and_then(|value| value.as_str().map(str::to_owned));
        let (kind, path, address) = (take(backend), take(path), take(address));
        let word = match (kind.as_deref(), address) {
            (Some("redis"), Some(address)) => {
                let url = format!("redis://{address}");
                let word = format!("is `{ours}: {}` here, unless `store` is set", without_password(&url));
                keys.insert(ours.to_owned(), Value::from(url));
                word
            }
            (Some("redis"), None) => format!("names no address; `{ours}: redis://HOST` does"),
            (Some("sqlite"), _) => format!(
                "is not used: the Go library's database is not read, and the `store` keeps everything, unless \
                 `{ours}: sqlite:PATH` names a file of its own"
            ),
            (Some("memory"), _) => format!(
                "is not used: the `store` keeps everything and forgets nothing, unless `{ours}: memory:` is asked for"
            ),
            (Some(other), _) => {
                return Err(Failure::usage(format!(
                    "{backend} in {name} is {other:?}, which is of no known kind"
                ))
                .hint("the back ends are memory, sqlite and redis"));
            }
            (None, None) if path.is_none() => continue,
            (None, _) => "is missing, so that its path or address is not used".to_owned(),
        };
        words.push(format!("{backend} in {name} {word}"));
    }
    Ok((keys, words))
}
