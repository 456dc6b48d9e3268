//! `agentic config show`.

use serde_json::{Map, Value, json};

use crate::{
    config::{Loaded, MASK},
    failure::Failure,
    output::Table,
    session::Session,
};

/// Prints every value and where it comes from; secrets are masked.
pub(crate) fn config_show(session: &Session) -> Result<(), Failure> {
    let values = values(&session.loaded)?;
    if session.printer.is_json {
        let object: Map<String, Value> = values
            .into_iter()
            .map(|(key, value, from)| (key, json!({ "value": value, "from": from })))
            .collect();
        return session.printer.json(&object);
    }
    let mut table = Table::new(&["KEY", "VALUE", "FROM"]);
    for (key, value, from) in values {
        let value = match value {
            Value::Null => "-".to_owned(),
            Value::String(text) => text,
            other => other.to_string(),
        };
        table.row([key, value, from]);
    }
    session.printer.table(table)
}

fn values(loaded: &Loaded) -> Result<Vec<(String, Value, String)>, Failure> {
    let settings = serde_json::to_value(&loaded.settings)
        .map_err(|error| Failure::because("the settings cannot be shown", &error))?;
    let Value::Object(settings) = settings else { return Ok(Vec::new()) };
    let shown = settings.into_iter().map(|(key, value)| {
        let value = match (key.as_str(), value) {
            ("token", Value::String(_)) => Value::from(MASK),
            ("store", _) => Value::from(without_password(&loaded.settings.store_url())),
            (_, value) => value,
        };
        let from = loaded.origin(&key).to_string();
        (key, value, from)
    });
    Ok(shown.collect())
}

/// A URL whose password, if it has one, is masked.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find('/').unwrap_or(rest.len());
    match rest[..end].rsplit_once('@') {
        Some((user, host)) => {
            let name = user.split(':').next().unwrap_or_default();
            format!("{scheme}://{name}:{MASK}@{host}{}", &rest[end..])
        }
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_urls_are_masked() {
        assert_eq!(without_password("redis://u:p@h:1/0"), format!("redis://u:{MASK}@h:1/0"));
        assert_eq!(without_password("redis://:p@h"), format!("redis://:{MASK}@h"));
        assert_eq!(without_password("sqlite:/a@b"), "sqlite:/a@b");
    }
}
