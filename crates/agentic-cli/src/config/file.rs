//! Files of settings in YAML.

use std::path::Path;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::{failure::Failure, yaml::parse};

/// The largest file of settings, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// Reads a file; `None` when there is none.
///
/// # Errors
/// A usage failure when it cannot be read, or is too large.
pub(super) fn read(path: &Path) -> Result<Option<String>, Failure> {
    let failed = |why: String| Failure::usage(format!("cannot read {}: {why}", path.display()));
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => return Ok(None),
        Err(error) => return Err(failed(error.to_string())),
        Ok(metadata) if metadata.len() > MAX_FILE => return Err(failed("it is larger than 1 MiB".into())),
        Ok(_) => {}
    }
    std::fs::read_to_string(path).map(Some).map_err(|error| failed(error.to_string()))
}

/// What a file sets: the value of each key that it names, as `T` writes it back.
///
/// # Errors
/// As [`crate::yaml::parse`].
pub(super) fn keys<T>(text: &str, name: &str) -> Result<Map<String, Value>, Failure>
where
    T: DeserializeOwned + Serialize,
{
    let typed: T = parse(text, name)?;
    // Only its keys: the values are those that the types read.
    let named: Map<String, Value> = parse(text, name)?;
    let Ok(Value::Object(values)) = serde_json::to_value(typed) else { return Ok(Map::new()) };
    Ok(values.into_iter().filter(|(key, _)| named.contains_key(key)).collect())
}
