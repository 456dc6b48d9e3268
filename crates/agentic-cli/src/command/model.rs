//! `agentic model`.

use agentic_core::{
    allowance::{CostBasis, ModelQuota, Price},
    amount::Amount,
    decimal,
    error::Error,
    limit::Meter,
    price::PriceSource,
};
use serde_json::json;

use super::prices;
use crate::{
    args::{Cost, ModelCommand, ModelLimits},
    failure::Failure,
    output::{Table, amount_or_unlimited, figure, or_dash},
    session::Session,
};

/// Shows and sets what all agents together may use of a model.
pub(crate) async fn model(session: &Session, command: ModelCommand) -> Result<(), Failure> {
    let client = session.client()?;
    match command {
        ModelCommand::List => {
            let quotas = client.models().await?;
            if quotas.is_empty() {
                session.printer.note("no model has a quota");
            }
            if session.printer.is_json { session.printer.json(&quotas) } else { print(session, &quotas) }
        }
        ModelCommand::Get { model } => one(session, client.model(&model).await?),
        ModelCommand::Set { model, limits } => {
            let now = match client.model(&model).await {
                Err(Error::NotFound { .. }) => ModelQuota::unlimited(model),
                found => found?,
            };
            let wanted = changed(now, &limits);
            client.set_model(&wanted).await?;
            one(session, client.model(&wanted.model).await?)
        }
        ModelCommand::ImportPrices(args) => prices::import(session, &client, args).await,
        ModelCommand::Delete { model } => {
            client.delete_model(&model).await?;
            if session.printer.is_json {
                return session.printer.json(&json!({ "model": model, "done": "deleted" }));
            }
            session.printer.line(&format!("{model} has no quota any more"))
        }
    }
}

/// What is named changes; the rest stays.
fn changed(now: ModelQuota, limits: &ModelLimits) -> ModelQuota {
    let price = limits.price_in.zip(limits.price_out).map(|(input, output)| {
        let stands = |part: fn(&Price) -> Option<Amount>| now.price.as_ref().and_then(part);
        Price {
            input,
            output,
            cache_read: limits.price_cache_read.or_else(|| stands(|price| price.cache_read)),
            cache_write: limits.price_cache_write.or_else(|| stands(|price| price.cache_write)),
            reasoning: limits.price_reasoning.or_else(|| stands(|price| price.reasoning)),
        }
    });
    ModelQuota {
        daily_token_budget: limits.daily_tokens.unwrap_or(now.daily_token_budget),
        hourly_rate_limit: limits.hourly_requests.unwrap_or(now.hourly_rate_limit),
        cost_ceiling: limits.cost_ceiling.unwrap_or(now.cost_ceiling),
        price_source: now.price_source.filter(|_| price.is_none()),
        price: price.or(now.price),
        cost: match limits.cost {
            Some(Cost::Priced) => CostBasis::Priced,
            Some(Cost::Reported) => CostBasis::Reported,
            None => now.cost,
        },
        usage: None,
        model: now.model,
    }
}

/// Where a price was taken from, in short: `vendor/m of map 0123456789ab (highest), 2026-03-01`.
fn from(source: &PriceSource) -> String {
    let PriceSource { sha256, key, tier, imported_at } = source;
    let map: String = sha256.chars().take(12).collect();
    let day: String = imported_at.to_string().chars().take(10).collect();
    format!("{key} of map {map} ({}), {day}", tier.as_str())
}

fn one(session: &Session, quota: ModelQuota) -> Result<(), Failure> {
    if session.printer.is_json { session.printer.json(&quota) } else { print(session, &[quota]) }
}

fn print(session: &Session, quotas: &[ModelQuota]) -> Result<(), Failure> {
    let mut table = Table::new(&[
        "MODEL",
        "TOKENS A DAY",
        "REQUESTS AN HOUR",
        "CEILING (CENTS)",
        "USED TODAY",
        "SPENT",
        "$ A MILLION IN/OUT",
        "PRICE FROM",
        "COST",
    ]);
    for quota in quotas {
        table.row([
            quota.model.to_string(),
            amount_or_unlimited(quota.daily_token_budget),
            amount_or_unlimited(quota.hourly_rate_limit),
            amount_or_unlimited(quota.cost_ceiling),
            or_dash(quota.usage.map(|usage| usage.tokens_today)),
            or_dash(quota.usage.map(|usage| figure(Meter::Cost, usage.cost_micros))),
            quota.price.map_or_else(
                || "-".to_owned(),
                |price| format!("{}/{}", decimal::shown(price.input, 6), decimal::shown(price.output, 6)),
            ),
            match (&quota.price, &quota.price_source) {
                (None, _) => "-".to_owned(),
                (Some(_), None) => "by hand".to_owned(),
                (Some(_), Some(source)) => from(source),
            },
            quota.cost.as_str().to_owned(),
        ]);
    }
    if table.is_empty() { Ok(()) } else { session.printer.table(table) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_that_is_not_named_stays_as_it_is() {
        let price = |input: u32, cache: u32| Price {
            cache_read: Some(cache.into()),
            ..Price::flat(input.into(), 9u32.into())
        };
        let now = ModelQuota { price: Some(price(3, 1)), ..ModelQuota::unlimited("m".parse().unwrap()) };
        let limits = ModelLimits {
            daily_tokens: None,
            hourly_requests: None,
            cost_ceiling: None,
            price_in: Some(4u32.into()),
            price_out: Some(9u32.into()),
            price_cache_read: None,
            price_cache_write: None,
            price_reasoning: None,
            cost: None,
        };
        assert_eq!(changed(now.clone(), &limits).price, Some(price(4, 1)));
        let limits = ModelLimits { price_cache_read: Some(2u32.into()), ..limits };
        assert_eq!(changed(now, &limits).price, Some(price(4, 2)));
    }
}
