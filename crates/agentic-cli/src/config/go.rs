//! The Go library's file of settings, `~/.core/agentic.yaml`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Secret, file};
use crate::failure::Failure;

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
    for (backend, places) in [
        ("store_backend", ["store_path", "redis_addr"]),
        ("registry_backend", ["registry_path", "registry_redis_addr"]),
    ] {
        // The Go library kept allowances and agents apart, in files that this project cannot read: only what was
        // asked for is told, and one store holds everything.
        for old in [backend].into_iter().chain(places) {
            if keys.remove(old).is_some() {
                words.push(format!(
                    "{old} in {name} is not used: one `store` holds everything now, such as sqlite:PATH; \
                     the Go library's database is not read"
                ));
            }
        }
    }
    Ok((keys, words))
}
