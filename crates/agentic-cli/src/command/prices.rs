//! `agentic model import-prices`.
//!
//! A price map is a JSON object, from a name of a model to its prices in dollars a token, as LiteLLM publishes it
//! (`model_prices_and_context_window.json`). Prices are read as decimal text, never as floats, and kept exactly, in
//! picodollars a token.

use std::collections::{BTreeMap, BTreeSet};

use agentic_client::Client;
use agentic_core::{
    allowance::{ModelQuota, Price},
    amount::Amount,
    decimal,
    id::ModelName,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    args::ImportArgs,
    failure::Failure,
    output::{Table, or_dash},
    session::Session,
};

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 64 << 20;

/// What a map says of one model; what else it says does not concern us.
#[derive(Debug, Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    input_cost_per_token: Option<&'a RawValue>,
    #[serde(borrow)]
    output_cost_per_token: Option<&'a RawValue>,
    #[serde(borrow)]
    cache_read_input_token_cost: Option<&'a RawValue>,
    #[serde(borrow)]
    cache_creation_input_token_cost: Option<&'a RawValue>,
    #[serde(borrow)]
    output_cost_per_reasoning_token: Option<&'a RawValue>,
    litellm_provider: Option<String>,
}

/// What became of one model.
#[derive(Debug, PartialEq, Serialize)]
struct Row {
    model: String,
    /// Under which key of the map it was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    price: Option<Price>,
    done: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// The entries of a map that are understood, by key; and how many are not.
type Map<'a> = BTreeMap<String, &'a RawValue>;

/// Takes prices from a map.
pub(super) async fn import(session: &Session, client: &Client, args: ImportArgs) -> Result<(), Failure> {
    let text = read(&args)?;
    let map: Map<'_> = serde_json::from_str(&text)
        .map_err(|error| Failure::usage(format!("{} is no price map: {error}", args.file.display())))?;
    let quotas: BTreeMap<String, ModelQuota> =
        client.models().await?.into_iter().map(|quota| (quota.model.to_string(), quota)).collect();
    let wanted: BTreeSet<String> = if args.all {
        map.keys().filter(|key| *key != "sample_spec").cloned().collect()
    } else if args.only.is_empty() {
        quotas.keys().cloned().collect()
    } else {
        args.only.into_iter().collect()
    };
    let mut rows = Vec::with_capacity(wanted.len());
    for wanted in wanted {
        let mut row = look_up(&map, &wanted);
        if let (Ok(model), Some(price)) = (row.model.parse::<ModelName>(), row.price) {
            let stands = quotas.get(&row.model).cloned().unwrap_or_else(|| ModelQuota::unlimited(model));
            if stands.price == Some(price) {
                row.done = "unchanged";
            } else if !args.dry_run {
                client.set_model(&ModelQuota { price: Some(price), ..stands }).await?;
            }
        }
        rows.push(row);
    }
    let took = rows.iter().filter(|row| row.done == "taken").count();
    let verb = if args.dry_run { "would take" } else { "took" };
    let skipped = rows.iter().filter(|row| row.done == "skipped").count();
    session.printer.note(&format!(
        "{verb} {took} prices, skipped {skipped}; the map has {} entries of which {} were not asked for",
        map.len(),
        map.len().saturating_sub(rows.len())
    ));
    if session.printer.is_json { session.printer.json(&rows) } else { print(session, rows) }
}

fn read(args: &ImportArgs) -> Result<String, Failure> {
    let unreadable = |why: String| Failure::usage(format!("{} cannot be read: {why}", args.file.display()));
    let size = std::fs::metadata(&args.file).map_err(|error| unreadable(error.to_string()))?.len();
    if size > MAX_FILE {
        return Err(unreadable("it has more than 64 MiB".to_owned()));
    }
    std::fs::read_to_string(&args.file).map_err(|error| unreadable(error.to_string()))
}

/// Finds the price of `wanted`, a model or `MODEL=KEY`.
fn look_up(map: &Map<'_>, wanted: &str) -> Row {
    let (model, key) = wanted.split_once('=').map_or((wanted, None), |(model, key)| (model, Some(key)));
    let skipped = |from: Option<&str>, why: String| Row {
        model: model.to_owned(),
        from: from.map(str::to_owned),
        price: None,
        done: "skipped",
        why: Some(why),
    };
    if let Err(error) = model.parse::<ModelName>() {
        return skipped(None, error.to_string());
    }
    let keys = match key {
        Some(key) => map.get_key_value(key).map(|(key, _)| key.as_str()).into_iter().collect(),
        None => keys_of(map, model),
    };
    let mut found: Vec<(&str, Result<Price, String>)> = Vec::new();
    for key in keys {
        if let Some(entry) = map.get(key) {
            found.push((key, price(entry)));
        }
    }
    let Some((from, first)) = found.first() else {
        return skipped(None, "is not in the map".to_owned());
    };
    if found.iter().any(|(_, price)| price != first) {
        let keys: Vec<&str> = found.iter().map(|(key, _)| *key).collect();
        return skipped(
            None,
            format!("has several prices; choose with --only {model}=KEY: {}", keys.join(", ")),
        );
    }
    match first {
        Ok(price) => Row {
            model: model.to_owned(),
            from: Some((*from).to_owned()),
            price: Some(*price),
            done: "taken",
            why: None,
        },
        Err(why) => skipped(Some(from), why.clone()),
    }
}

/// The keys that mean a model: its own name; else its name behind a provider's, or without the provider that it names.
fn keys_of<'m>(map: &'m Map<'_>, model: &str) -> Vec<&'m str> {
    if let Some((key, _)) = map.get_key_value(model) {
        return vec![key];
    }
    let provider_of = |entry: &RawValue| {
        serde_json::from_str::<Entry<'_>>(entry.get()).ok().and_then(|entry| entry.litellm_provider)
    };
    let named = |(key, entry): (&'m String, &&RawValue)| {
        let behind = key.rsplit_once('/').is_some_and(|(_, name)| name == model);
        let without = model.split_once('/').is_some_and(|(provider, name)| {
            name == key && provider_of(entry).is_some_and(|known| known == provider)
        });
        (behind || without).then_some(key.as_str())
    };
    map.iter().filter_map(named).collect()
}

/// The price of an entry, exactly, or why it has none.
fn price(entry: &RawValue) -> Result<Price, String> {
    let entry: Entry<'_> =
        serde_json::from_str(entry.get()).map_err(|error| format!("is not understood: {error}"))?;
    let part = |name: &str, value: Option<&RawValue>| -> Result<Option<Amount>, String> {
        let Some(text) = value.map(|value| value.get().trim_matches('"')).filter(|text| *text != "null")
        else {
            return Ok(None);
        };
        decimal::scaled(text, 12)
            .map(Some)
            .map_err(|error| format!("{name} is no price in picodollars: {error}"))
    };
    let input = part("input_cost_per_token", entry.input_cost_per_token)?;
    let output = part("output_cost_per_token", entry.output_cost_per_token)?;
    let Some((input, output)) = input.zip(output) else {
        return Err("has no price a token in and a token out".to_owned());
    };
    Ok(Price {
        input,
        output,
        cache_read: part("cache_read_input_token_cost", entry.cache_read_input_token_cost)?,
        cache_write: part("cache_creation_input_token_cost", entry.cache_creation_input_token_cost)?,
        reasoning: part("output_cost_per_reasoning_token", entry.output_cost_per_reasoning_token)?,
    })
}

fn print(session: &Session, rows: Vec<Row>) -> Result<(), Failure> {
    let mut table =
        Table::new(&["MODEL", "FROM", "IN", "CACHE READ", "CACHE WRITE", "OUT", "REASONING", "DONE"]);
    for row in rows {
        let dollars = |amount: Option<Amount>| or_dash(amount.map(|amount| decimal::shown(amount, 6)));
        let of = |part: fn(&Price) -> Option<Amount>| dollars(row.price.as_ref().and_then(part));
        table.row([
            row.model.clone(),
            or_dash(row.from.clone()),
            of(|price| Some(price.input)),
            of(|price| price.cache_read),
            of(|price| price.cache_write),
            of(|price| Some(price.output)),
            of(|price| price.reasoning),
            row.why.as_ref().map_or_else(|| row.done.to_owned(), |why| format!("{}: {why}", row.done)),
        ]);
    }
    if table.is_empty() { Ok(()) } else { session.printer.table(table) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = r#"{
        "sample_spec": {"input_cost_per_token": "0.0", "max_tokens": "set to max output tokens"},
        "sonnet": {"input_cost_per_token": 3e-06, "output_cost_per_token": 1.5e-05, "cache_read_input_token_cost": 3e-07,
            "cache_creation_input_token_cost": 3.75e-06, "litellm_provider": "anthropic", "mode": "chat"},
        "bedrock/sonnet-2": {"input_cost_per_token": 0.000003, "output_cost_per_token": "0.000015"},
        "vertex/sonnet-2": {"input_cost_per_token": 3E-6, "output_cost_per_token": 15e-6},
        "a/haiku": {"input_cost_per_token": 1e-6, "output_cost_per_token": 5e-6},
        "b/haiku": {"input_cost_per_token": 2e-6, "output_cost_per_token": 5e-6},
        "free": {"input_cost_per_token": 0, "output_cost_per_token": 0.0, "output_cost_per_reasoning_token": null},
        "fine": {"input_cost_per_token": 1e-13, "output_cost_per_token": 1e-6},
        "negative": {"input_cost_per_token": -1e-6, "output_cost_per_token": 1e-6},
        "picture": {"input_cost_per_image": 0.04}
    }"#;

    fn found(wanted: &str) -> Row {
        look_up(&serde_json::from_str(MAP).unwrap(), wanted)
    }

    #[test]
    fn prices_are_taken_exactly() {
        let sonnet = found("sonnet").price.unwrap();
        let amounts = [Some(sonnet.input), Some(sonnet.output), sonnet.cache_read, sonnet.cache_write];
        assert_eq!(amounts.map(|amount| amount.unwrap().get()), [3_000_000, 15_000_000, 300_000, 3_750_000]);
        assert_eq!(
            (sonnet.reasoning, found("free").price),
            (None, Some(Price::flat(Amount::ZERO, Amount::ZERO)))
        );
        assert_eq!(found("anthropic/sonnet").from.as_deref(), Some("sonnet"));
        let twice = found("sonnet-2");
        assert_eq!((twice.done, twice.price), ("taken", Some(Price::flat(sonnet.input, sonnet.output))));
        assert_eq!(found("mine=b/haiku").price.unwrap().input.get(), 2_000_000);
    }

    #[test]
    fn what_is_not_taken_says_why() {
        for (wanted, why) in [
            ("haiku", "several prices"),
            ("fine", "12 decimal places"),
            ("negative", "not below zero"),
            ("picture", "no price a token"),
            ("nobody", "not in the map"),
            ("openai/sonnet", "not in the map"),
            ("mine=nobody", "not in the map"),
            ("no model", "model"),
        ] {
            let row = found(wanted);
            assert_eq!((row.done, row.price), ("skipped", None), "{wanted}");
            assert!(row.why.as_ref().unwrap().contains(why), "{wanted}: {:?}", row.why);
        }
    }
}
