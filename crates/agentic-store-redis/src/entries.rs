//! The ledger as it is read: an agent's entries, newest first, and the opening balance behind them.

use std::collections::BTreeMap;

use agentic_core::{
    clock::Timestamp,
    error::{Error, Result},
    id::AgentId,
    job::{Entry, Move},
    limit::{MeterKey, Scope},
    port::{EntryPage, ReadEntries},
};

use crate::{
    args::Args,
    error::unreadable,
    reply::{Reply, named},
    rows::limit_field,
    script,
    store::RedisStore,
};

/// How often a page is read anew because the ledger was folded under it.
const READS: usize = 5;

/// How many entries one step reads.
const PAGE: usize = 250;

impl RedisStore {
    /// A page of an agent's entries, with the opening balance after the last one.
    pub(crate) async fn page_of(&self, read: &ReadEntries) -> Result<EntryPage> {
        let is_id = |cursor: &String| {
            let parts = cursor.split_once('-').map(|(ms, seq)| [ms, seq]);
            parts.is_some_and(|parts| parts.iter().all(|part| part.parse::<u64>().is_ok()))
        };
        if read.cursor.as_ref().is_some_and(|cursor| !is_id(cursor)) {
            return Err(Error::invalid("cursor", "must be one of this ledger"));
        }
        for _ in 0..READS {
            let (mut page, mut first) = (Vec::new(), None);
            loop {
                let step = PAGE.min(read.limit.saturating_add(1) - page.len());
                let cursor = page.last().map(|(id, _)| id).or(read.cursor.as_ref());
                let args = Args::timeless().value(&read.agent_id).maybe(cursor).value(step);
                let mut reply = self.ask(&script::ENTRIES, args).await?;
                let oldest = reply.text()?;
                first.get_or_insert(oldest);
                let found = reply.lists()?;
                let full = found.len() == step;
                for reply in found {
                    page.push(entry(reply)?);
                }
                if !full || page.len() > read.limit {
                    break;
                }
            }
            let more = page.len() > read.limit;
            page.truncate(read.limit);
            let next = page.last().filter(|_| more).map(|(id, _)| id.clone());
            let entries = page.into_iter().map(|(_, entry)| entry).collect();
            if next.is_some() {
                return Ok(EntryPage { entries, next, opening: Vec::new() });
            }
            let opening = self.opening_of(&read.agent_id).await?;
            // What is folded leaves the front of the ledger, so that both were read of the same moment.
            if Some(self.oldest_entry().await?) == first {
                return Ok(EntryPage { entries, next, opening });
            }
        }
        Err(Error::unavailable("the ledger, which is being folded,"))
    }

    async fn oldest_entry(&self) -> Result<String> {
        let mut page = Reply::of(self.command("XRANGE", "entries", &["-", "+", "COUNT", "1"]).await?)?;
        if page.is_empty() { Ok(String::new()) } else { page.list()?.text() }
    }

    /// What an agent's folded entries moved, read in bounded steps.
    async fn opening_of(&self, agent: &AgentId) -> Result<Vec<Move>> {
        let own = format!("{} *", Scope::Agent(agent.clone()));
        let mut sums: BTreeMap<(MeterKey, i64), i64> = BTreeMap::new();
        for (field, delta) in self.walk("opening", &own).await? {
            sums.insert(limit_field(&field)?, delta.parse().map_err(unreadable)?);
        }
        sums.retain(|_, delta| *delta != 0);
        Ok(sums.into_iter().map(|((key, bucket), delta)| Move { key, bucket, delta }).collect())
    }
}

/// An entry of the stream, with its id.
fn entry(mut reply: Reply) -> Result<(String, Entry)> {
    let id = reply.text()?;
    let cells = reply.cells()?;
    let filled = |name: &str| cells.text(name).filter(|text| !text.is_empty());
    let moves: Vec<(String, i64, i64)> = cells.json("moves")?.unwrap_or_default();
    let read = |(field, delta, _): (String, i64, i64)| {
        limit_field(&field).map(|(key, bucket)| Move { key, bucket, delta })
    };
    let entry = Entry {
        kind: named(cells.text("kind").unwrap_or_default())?,
        at: Timestamp::from_millis(cells.must("at")?),
        job: filled("job").map(str::parse).transpose()?,
        agent_id: cells.must("agent")?,
        model: filled("model").map(str::parse).transpose()?,
        cost_source: filled("source").map(named).transpose()?,
        moves: moves.into_iter().map(read).collect::<Result<_>>()?,
    };
    Ok((id, entry))
}
