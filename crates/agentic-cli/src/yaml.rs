//! YAML, read strictly.

use serde::de::DeserializeOwned;

use crate::failure::Failure;

/// Reads YAML strictly: no key twice, `true` and `false` only, and a message that shows the line.
///
/// # Errors
/// A usage failure with line and column, naming the nearest key where one is not known.
pub(crate) fn parse<T: DeserializeOwned>(text: &str, name: &str) -> Result<T, Failure> {
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let failure = Failure::usage(format!("{name} is not valid: {error}"));
        match error.without_snippet() {
            serde_saphyr::Error::SerdeUnknownField { field, expected, .. } => {
                failure.hint(nearest(field, expected))
            }
            _ => failure,
        }
    })
}

/// One sentence that names the known key nearest to `unknown`, or all of them.
fn nearest(unknown: &str, known: &[&str]) -> String {
    let near = known.iter().map(|key| (strsim::damerau_levenshtein(unknown, key), key)).min();
    match near {
        Some((distance, key)) if distance <= key.len() / 2 => format!("did you mean `{key}`?"),
        _ => format!("the keys are {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_like_no_key_gets_all_of_them() {
        assert_eq!(nearest("xyzzy", &["lease", "tick"]), "the keys are lease, tick");
        assert_eq!(nearest("laese", &["lease", "tick"]), "did you mean `lease`?");
    }
}
