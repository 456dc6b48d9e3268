//! `agentic config show`.

use serde_json::{Map, Value, json};

use crate::{
    config::{Loaded, MASK},
    failure::Failure,
    output::Table,
    session::Session,
    store::without_password,
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
            ("token" | "store_token", Value::String(_)) => Value::from(MASK),
            ("store", _) => Value::from(without_password(&loaded.settings.store_url())),
            ("registry" | "allowance", Value::String(url)) => Value::from(without_password(&url)),
            (_, value) => value,
        };
        let from = loaded.origin(&key).to_string();
        (key, value, from)
    });
    Ok(shown.collect())
}
