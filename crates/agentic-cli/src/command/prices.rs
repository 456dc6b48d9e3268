//! `agentic model import-prices`.
//!
//! A price map is a JSON object, from a name of a model to its prices in dollars a token, as LiteLLM publishes it
//! (`model_prices_and_context_window.json`). Prices are read as decimal text, never as floats, and kept exactly, in
//! picodollars a token.
//!
//! A map may give several prices of one category: by the size of a request's context, or by the time that it is kept in a
//! cache. Usage comes as one sum of all requests of a job and does not say which of them they met, so the highest is
//! taken: a budget may end too early, and never too late.

use std::collections::{BTreeMap, BTreeSet};

use agentic_client::Client;
use agentic_core::{
    allowance::{ModelQuota, Price},
    amount::Amount,
    clock::Timestamp,
    decimal,
    id::ModelName,
    price::{PriceSource, PriceTier},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use crate::{
    args::{ImportArgs, Tier},
    failure::Failure,
    output::{Table, or_dash},
    session::Session,
};

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 64 << 20;

/// The keys of a price, in the order of its categories.
const CATEGORIES: [&str; 5] = [
    "input_cost_per_token",
    "output_cost_per_token",
    "cache_read_input_token_cost",
    "cache_creation_input_token_cost",
    "output_cost_per_reasoning_token",
];
/// Of each category the one that it is a part of: itself, where it is a total.
const TOTALS: [usize; 5] = [0, 1, 0, 0, 1];

/// Who offers a model.
#[derive(Debug, Deserialize)]
struct Offer {
    litellm_provider: Option<String>,
}

/// What a map says of one model's price.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    price: Price,
    tier: PriceTier,
    /// The keys of what is dearer than the base price, which was taken or not as `tier` says.
    dearer: Vec<String>,
    /// The keys of other prices: tokens are not told apart by them.
    left_out: Vec<String>,
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
    /// As it is kept with the price.
    #[serde(skip_serializing_if = "Option::is_none")]
    price_source: Option<PriceSource>,
    /// Of the prices with a condition those that are dearer than the base price.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dearer: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    left_out: Vec<String>,
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
        args.only.iter().cloned().collect()
    };
    let sha256 = format!("{:x}", Sha256::digest(text.as_bytes()));
    let mut rows = Vec::with_capacity(wanted.len());
    for wanted in wanted {
        let mut row = look_up(&map, &wanted, args.tier);
        if let Some(source) = &mut row.price_source {
            (source.sha256, source.imported_at) = (sha256.clone(), session.now());
        }
        if let (Ok(model), Some(price)) = (row.model.parse::<ModelName>(), row.price) {
            let stands = quotas.get(&row.model).cloned().unwrap_or_else(|| ModelQuota::unlimited(model));
            if stands.price == Some(price) {
                row.done = "unchanged";
                row.price_source = stands.price_source;
            } else if !args.dry_run {
                let price_source = row.price_source.clone();
                client.set_model(&ModelQuota { price: Some(price), price_source, ..stands }).await?;
            }
        }
        rows.push(row);
    }
    tell(session, &args, &map, &sha256, &rows);
    if session.printer.is_json { session.printer.json(&rows) } else { print(session, rows) }
}

/// Says what was taken and why.
fn tell(session: &Session, args: &ImportArgs, map: &Map<'_>, sha256: &str, rows: &[Row]) {
    let count = |done: &str| rows.iter().filter(|row| row.done == done).count();
    let verb = if args.dry_run { "would take" } else { "took" };
    session.printer.note(&format!(
        "{verb} {} prices, skipped {}; the map ({}) has {} entries of which {} were not asked for",
        count("taken"),
        count("skipped"),
        &sha256[..12],
        map.len(),
        map.len().saturating_sub(rows.len())
    ));
    let keys = |of: fn(&Row) -> &Vec<String>| {
        let models = rows.iter().filter(|row| !of(row).is_empty()).count();
        let keys: BTreeSet<&str> = rows.iter().flat_map(of).map(String::as_str).collect();
        (models, keys.into_iter().collect::<Vec<_>>().join(", "))
    };
    let (models, dearer) = keys(|row| &row.dearer);
    if models > 0 && args.tier == Tier::Highest {
        session.printer.note(&format!(
            "{models} models have prices by the size of a context or the time in a cache, which usage does not tell; of each \
             the highest counts, so that no budget is passed (--tier base takes the lowest): {dearer}"
        ));
    } else if models > 0 {
        session.printer.note(&format!(
            "{models} models have dearer prices by the size of a context or the time in a cache, and are charged below what \
             they cost where a request meets one: {dearer}"
        ));
    }
    let (models, left_out) = keys(|row| &row.left_out);
    if models > 0 {
        session.printer.note(&format!(
            "left out other prices of {models} models, as no tokens are told apart by them: {left_out}"
        ));
    }
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
fn look_up(map: &Map<'_>, wanted: &str, tier: Tier) -> Row {
    let (model, key) = wanted.split_once('=').map_or((wanted, None), |(model, key)| (model, Some(key)));
    let skipped = |from: Option<&str>, why: String| Row {
        model: model.to_owned(),
        from: from.map(str::to_owned),
        price: None,
        price_source: None,
        dearer: Vec::new(),
        left_out: Vec::new(),
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
    let mut found: Vec<(&str, Result<Found, String>)> = Vec::new();
    for key in keys {
        if let Some(entry) = map.get(key) {
            found.push((key, price(entry, tier)));
        }
    }
    let Some((from, first)) = found.first() else {
        return skipped(None, "is not in the map".to_owned());
    };
    let price_of = |found: &Result<Found, String>| found.clone().map(|found| found.price);
    if found.iter().any(|(_, other)| price_of(other) != price_of(first)) {
        let keys: Vec<&str> = found.iter().map(|(key, _)| *key).collect();
        return skipped(
            None,
            format!("has several prices; choose with --only {model}=KEY: {}", keys.join(", ")),
        );
    }
    match first {
        Ok(first) => Row {
            model: model.to_owned(),
            from: Some((*from).to_owned()),
            price: Some(first.price),
            price_source: Some(PriceSource {
                sha256: String::new(),
                key: (*from).to_owned(),
                tier: first.tier,
                imported_at: Timestamp::EPOCH,
            }),
            dearer: first.dearer.clone(),
            left_out: first.left_out.clone(),
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
        serde_json::from_str::<Offer>(entry.get()).ok().and_then(|offer| offer.litellm_provider)
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

/// The prices of one category.
#[derive(Debug, Clone, Copy, Default)]
struct Category {
    base: Option<Amount>,
    /// The highest of those with a condition.
    top: Option<Amount>,
    /// One of them depends on the size of the context.
    by_context: bool,
}

/// The price of an entry, exactly, or why it has none.
fn price(entry: &RawValue, tier: Tier) -> Result<Found, String> {
    let entry: BTreeMap<String, &RawValue> =
        serde_json::from_str(entry.get()).map_err(|error| format!("is not understood: {error}"))?;
    if entry.get("tiered_pricing").is_some_and(|value| value.get() != "null") {
        return Err("has tiered_pricing, which is not understood; set its price by hand".to_owned());
    }
    let mut categories = [Category::default(); 5];
    let (mut conditional, mut left_out) = (Vec::new(), Vec::new());
    for (key, value) in &entry {
        let Some((at, condition)) = category_of(key) else {
            if key.contains("cost")
                && amount(key, value) != Ok(None)
                && amount(key, value) != Ok(Some(Amount::ZERO))
            {
                left_out.push(key.clone());
            }
            continue;
        };
        let (category, amount) = (&mut categories[at], amount(key, value)?);
        match condition {
            None => category.base = amount,
            Some(by_context) if amount.is_some() => {
                category.top = category.top.max(amount);
                category.by_context |= by_context;
                conditional.push((at, key, amount));
            }
            Some(_) => {}
        }
    }
    let bases = categories.map(|category| category.base);
    let (Some(input), Some(output)) = (bases[0], bases[1]) else {
        return Err("has no price a token in and a token out".to_owned());
    };
    let totals = [input, output];
    let base_of = |at: usize| bases[at].unwrap_or(totals[TOTALS[at]]);
    let dearer = conditional.into_iter().filter(|(at, _, amount)| *amount > Some(base_of(*at)));
    let dearer: Vec<String> = dearer.map(|(_, key, _)| key.clone()).collect();
    let tier = match tier {
        _ if dearer.is_empty() => PriceTier::Only,
        Tier::Highest => PriceTier::Highest,
        Tier::Base => PriceTier::Base,
    };
    let parts = if tier == PriceTier::Highest { highest(&categories, totals) } else { bases };
    let [_, _, cache_read, cache_write, reasoning] = parts;
    let (input, output) = (parts[0].unwrap_or(input), parts[1].unwrap_or(output));
    let price = Price { input, output, cache_read, cache_write, reasoning };
    Ok(Found { price, tier, dearer, left_out })
}

/// The highest price of each category. One that depends on the context in its total, and has no such price of its own, is as
/// its total where that is dearer.
fn highest(categories: &[Category; 5], bases: [Amount; 2]) -> [Option<Amount>; 5] {
    let of = |at: usize| {
        let Category { base, top, .. } = categories[at];
        top.map(|top| top.max(base.unwrap_or(bases[TOTALS[at]]))).or(base)
    };
    std::array::from_fn(|at| {
        let total = TOTALS[at];
        let unknown = categories[total].by_context && !categories[at].by_context;
        of(at).filter(|own| !unknown || Some(*own) >= of(total))
    })
}

/// The category that a key of a map is about, and, where it has a condition, whether that is the size of the context:
/// `input_cost_per_token_above_200k_tokens`, `cache_creation_input_token_cost_above_1hr`.
fn category_of(key: &str) -> Option<(usize, Option<bool>)> {
    let find = |(at, name): (usize, &&str)| Some((at, key.strip_prefix(*name)?));
    let (at, rest) = CATEGORIES.iter().enumerate().find_map(find)?;
    if rest.is_empty() {
        return Some((at, None));
    }
    let mut by_context = false;
    for condition in rest.strip_prefix("_above_")?.split("_above_") {
        let unit = condition.trim_start_matches(|c: char| c.is_ascii_digit());
        if unit.len() == condition.len() || !["k_tokens", "hr"].contains(&unit) {
            return None;
        }
        by_context |= unit == "k_tokens";
    }
    Some((at, Some(by_context)))
}

/// A price of a map in picodollars; `None` where there is none.
fn amount(key: &str, value: &RawValue) -> Result<Option<Amount>, String> {
    let text = value.get().trim_matches('"');
    if text == "null" {
        return Ok(None);
    }
    decimal::scaled(text, 12).map(Some).map_err(|error| format!("{key} is no price in picodollars: {error}"))
}

fn print(session: &Session, rows: Vec<Row>) -> Result<(), Failure> {
    let mut table =
        Table::new(&["MODEL", "FROM", "TIER", "IN", "CACHE READ", "CACHE WRITE", "OUT", "REASONING", "DONE"]);
    for row in rows {
        let dollars = |amount: Option<Amount>| or_dash(amount.map(|amount| decimal::shown(amount, 6)));
        let of = |part: fn(&Price) -> Option<Amount>| dollars(row.price.as_ref().and_then(part));
        table.row([
            row.model.clone(),
            or_dash(row.from.clone()),
            or_dash(row.price_source.as_ref().map(|source| source.tier.as_str())),
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
        "picture": {"input_cost_per_image": 0.04},
        "bands": {"input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6, "tiered_pricing": [{"range": [0, 1000]}]}
    }"#;

    fn found(wanted: &str) -> Row {
        look_up(&serde_json::from_str(MAP).unwrap(), wanted, Tier::Highest)
    }

    /// Input, output, cache read, cache write and reasoning, in dollars a million tokens, and the keys that are dearer.
    fn tiered(entry: &str, tier: Tier) -> ([Option<String>; 5], PriceTier, Vec<String>) {
        let Found { price, tier, dearer, .. } = price(serde_json::from_str(entry).unwrap(), tier).unwrap();
        let Price { input, output, cache_read, cache_write, reasoning } = price;
        let parts = [Some(input), Some(output), cache_read, cache_write, reasoning];
        (parts.map(|part| part.map(|amount| decimal::shown(amount, 6))), tier, dearer)
    }

    #[test]
    fn the_highest_price_of_each_category_counts() {
        let all = r#"{"input_cost_per_token": 3e-6, "output_cost_per_token": 15e-6, "cache_read_input_token_cost": 3e-7,
            "cache_creation_input_token_cost": 3.75e-6, "cache_creation_input_token_cost_above_1hr": 6e-6,
            "input_cost_per_token_above_200k_tokens": 6e-6, "output_cost_per_token_above_200k_tokens": 22.5e-6,
            "cache_read_input_token_cost_above_200k_tokens": 6e-7, "cache_creation_input_token_cost_above_200k_tokens": 7.5e-6,
            "cache_creation_input_token_cost_above_1hr_above_200k_tokens": 12e-6}"#;
        let dear = ["6.00", "22.50", "0.60", "12.00"];
        let one_hour = r#"{"input_cost_per_token": 3e-6, "output_cost_per_token": 15e-6, "cache_read_input_token_cost": 3e-7,
            "cache_creation_input_token_cost": 3.75e-6, "cache_creation_input_token_cost_above_1hr": 6e-6}"#;
        let total_only = r#"{"input_cost_per_token": 1e-6, "output_cost_per_token": 10e-6, "cache_read_input_token_cost": 1e-7,
            "cache_creation_input_token_cost": 9e-6, "output_cost_per_reasoning_token": 12e-6,
            "input_cost_per_token_above_128k_tokens": 2e-6, "output_cost_per_token_above_128k_tokens": 15e-6,
            "output_cost_per_token_above_256k_tokens": 14e-6}"#;
        let part_only = r#"{"input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6,
            "cache_read_input_token_cost_above_200k_tokens": 5e-7, "cache_creation_input_token_cost_above_1hr": 2e-6}"#;
        let same = r#"{"input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6,
            "input_cost_per_token_above_200k_tokens": 1e-6, "output_cost_per_token_above_200k_tokens": null}"#;
        for (entry, tier, parts, said, dearer) in [
            (all, Tier::Highest, [dear[0], dear[1], dear[2], dear[3], "-"], PriceTier::Highest, 6),
            (all, Tier::Base, ["3.00", "15.00", "0.30", "3.75", "-"], PriceTier::Base, 6),
            (one_hour, Tier::Highest, ["3.00", "15.00", "0.30", "6.00", "-"], PriceTier::Highest, 1),
            // A read from the cache and a thought have no price for long contexts: they are as their totals. A write is dearer.
            (total_only, Tier::Highest, ["2.00", "15.00", "-", "9.00", "-"], PriceTier::Highest, 3),
            // What is read costs as the input below the condition, which is more.
            (part_only, Tier::Highest, ["1.00", "1.00", "1.00", "2.00", "-"], PriceTier::Highest, 1),
            (part_only, Tier::Base, ["1.00", "1.00", "-", "-", "-"], PriceTier::Base, 1),
            (same, Tier::Highest, ["1.00", "1.00", "-", "-", "-"], PriceTier::Only, 0),
            (same, Tier::Base, ["1.00", "1.00", "-", "-", "-"], PriceTier::Only, 0),
        ] {
            let (found, tier, keys) = tiered(entry, tier);
            let parts = parts.map(|part| (part != "-").then(|| part.to_owned()));
            assert_eq!((found, tier, keys.len()), (parts, said, dearer), "{entry} {keys:?}");
        }
    }

    #[test]
    fn a_condition_is_told_from_another_price() {
        for (key, said) in [
            ("input_cost_per_token", Some((0, None))),
            ("output_cost_per_token_above_128k_tokens", Some((1, Some(true)))),
            ("cache_creation_input_token_cost_above_1hr", Some((3, Some(false)))),
            ("cache_creation_input_token_cost_above_1hr_above_200k_tokens", Some((3, Some(true)))),
            ("output_cost_per_reasoning_token_above_200k_tokens", Some((4, Some(true)))),
            ("input_cost_per_token_above_200k_tokens_priority", None),
            ("input_cost_per_token_priority", None),
            ("input_cost_per_token_above_k_tokens", None),
            ("input_cost_per_audio_token", None),
            ("input_cost_per_token_batches", None),
        ] {
            assert_eq!(category_of(key), said, "{key}");
        }
        let entry = r#"{"input_cost_per_token": 1, "output_cost_per_token": 1, "input_cost_per_audio_token": 2,
            "input_cost_per_image": 0, "cost_per_query": null, "search_context_cost_per_query": {"low": 1}, "mode": "chat"}"#;
        let found = price(serde_json::from_str(entry).unwrap(), Tier::Highest).unwrap();
        assert_eq!(found.left_out, ["input_cost_per_audio_token", "search_context_cost_per_query"]);
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
            ("bands", "tiered_pricing"),
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
