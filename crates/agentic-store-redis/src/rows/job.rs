//! Jobs.

use agentic_core::{
    allowance::Price,
    amount::Amount,
    clock::Timestamp,
    error::Result,
    job::{Charge, Job, Line},
    usage::Figures,
};

use super::limit::{StoredLimit, limit};
use crate::{
    error::unreadable,
    reply::{Cells, misshapen},
};

/// A job from its cells.
pub(crate) fn job(cells: &Cells) -> Result<Job> {
    let count: usize = cells.must("lines")?;
    Ok(Job {
        id: cells.must("id")?,
        admission: cells.string("admission").unwrap_or_default(),
        agent_id: cells.must("agent_id")?,
        project: cells.parse("project")?,
        task_created_at: cells.time("task_created_at")?,
        ask: cells.must("ask")?,
        admitted_at: Timestamp::from_millis(cells.must("admitted_at")?),
        expires_at: Timestamp::from_millis(cells.must("expires_at")?),
        started_at: cells.time("started_at")?,
        ended_at: cells.time("ended_at")?,
        state: cells.named("state")?.ok_or_else(|| misshapen("a job has no state"))?,
        outcome: cells.named("outcome")?,
        lines: (0..count).map(|index| line(cells, index)).collect::<Result<_>>()?,
        charges: charges(cells.text("charges").unwrap_or_default())?,
        stopped: cells.has("stopped"),
        unadmitted: cells.has("unadmitted"),
        late: cells.has("late"),
    })
}

fn line(cells: &Cells, index: usize) -> Result<Line> {
    let name = |field: &str| format!("{field}{index}");
    let stored: Vec<StoredLimit> = cells.json(&name("limits"))?.unwrap_or_default();
    Ok(Line {
        model: cells.parse(&name("model"))?,
        price: cells.text(&name("price")).map(price).transpose()?,
        limits: stored.iter().map(limit).collect::<Result<_>>()?,
        high: Figures {
            tokens_in: cells.parse(&name("in"))?.unwrap_or_default(),
            tokens_out: cells.parse(&name("out"))?.unwrap_or_default(),
            cache_read: cells.parse(&name("cr"))?.unwrap_or_default(),
            cache_write: cells.parse(&name("cw"))?.unwrap_or_default(),
            reasoning: cells.parse(&name("rs"))?.unwrap_or_default(),
            cost_micros: cells.parse(&name("cm"))?,
            requests: cells.parse(&name("rq"))?,
        },
        cost: cells.parse(&name("cost"))?.unwrap_or_default(),
    })
}

/// A price for a script: in, out, read from a cache, written to it, reasoning; an empty part is as its total.
pub(crate) fn price_text(price: Price) -> String {
    let part = |amount: Option<Amount>| amount.map_or_else(String::new, |amount| amount.to_string());
    let Price { input, output, .. } = price;
    format!(
        "{input},{output},{},{},{}",
        part(price.cache_read),
        part(price.cache_write),
        part(price.reasoning)
    )
}

fn price(text: &str) -> Result<Price> {
    let parts: Vec<&str> = text.split(',').collect();
    let [input, output, cache_read, cache_write, reasoning] = parts.as_slice() else {
        return Err(misshapen("a price has no five parts"));
    };
    let part = |text: &str| if text.is_empty() { Ok(None) } else { text.parse().map(Some) };
    Ok(Price {
        input: input.parse()?,
        output: output.parse()?,
        cache_read: part(cache_read)?,
        cache_write: part(cache_write)?,
        reasoning: part(reasoning)?,
    })
}

fn charges(text: &str) -> Result<Vec<Charge>> {
    let charge = |part: &str| {
        let cells: Vec<&str> = part.split(',').collect();
        let [line, at, tokens] = cells.as_slice() else {
            return Err(misshapen("a charge has no three parts"));
        };
        Ok(Charge {
            line: line.parse().map_err(unreadable)?,
            at: Timestamp::from_millis(at.parse().map_err(unreadable)?),
            tokens: tokens.parse::<Amount>()?,
        })
    };
    text.split(';').filter(|part| !part.is_empty()).map(charge).collect()
}
