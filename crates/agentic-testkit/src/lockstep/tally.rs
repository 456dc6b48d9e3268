//! What a run reached: which calls, with which answers, and which events.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use agentic_core::{
    error::{Error, Result},
    event::EventId,
    port::Ports,
    rpc::Call,
};
use serde_json::Value;

use crate::counting::{Counts, code};

/// What the generated calls of a run came to. As text: one line each method with how often it was done, and how often
/// it was refused and why; then the limits that refused, and the events that stood in the logs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Calls by method and by what they came to.
    pub calls: Counts,
    /// Refusals by the meter and window of the limit.
    pub limits: BTreeMap<String, usize>,
    /// Events by type.
    pub events: BTreeMap<&'static str, usize>,
    cursor: EventId,
}

impl Tally {
    /// How many calls were made.
    pub fn steps(&self) -> usize {
        self.calls.values().sum()
    }

    /// How many calls were refused, for whatever reason.
    pub fn refused(&self) -> usize {
        self.calls.iter().filter(|((_, code), _)| *code != "ok").map(|(_, count)| count).sum()
    }

    /// Counts a call that was answered, and the events since the last one.
    pub(super) async fn count(&mut self, left: &Ports, call: &Call, answer: &Result<Value>) -> Result<()> {
        *self.calls.entry((call.method(), code(answer))).or_default() += 1;
        if let Err(Error::Refused(refusal)) = answer {
            let limit = refusal
                .key
                .as_ref()
                .map_or_else(|| "without a limit".to_owned(), |key| format!("{} {}", key.meter, key.window));
            *self.limits.entry(limit).or_default() += 1;
        }
        let page = left.events.after(self.cursor, 1_000).await?;
        self.cursor = page.cursor;
        for event in page.events {
            *self.events.entry(event.kind.as_str()).or_default() += 1;
        }
        Ok(())
    }

    /// Takes in what another world came to.
    pub(super) fn add(&mut self, other: Self) {
        for (what, count) in other.calls {
            *self.calls.entry(what).or_default() += count;
        }
        for (what, count) in other.limits {
            *self.limits.entry(what).or_default() += count;
        }
        for (what, count) in other.events {
            *self.events.entry(what).or_default() += count;
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} calls, {} of them refused", self.steps(), self.refused())?;
        let methods: BTreeSet<&str> = self.calls.keys().map(|(method, _)| *method).collect();
        for method in methods {
            let done = self.calls.get(&(method, "ok")).copied().unwrap_or(0);
            write!(f, "  {method:<34} {done:>7}")?;
            for ((_, code), count) in self.calls.iter().filter(|((m, c), _)| *m == method && *c != "ok") {
                write!(f, "  {code} {count}")?;
            }
            writeln!(f)?;
        }
        writeln!(f, "refused by a limit of")?;
        for (limit, count) in &self.limits {
            writeln!(f, "  {limit:<34} {count:>7}")?;
        }
        writeln!(f, "events")?;
        for (kind, count) in &self.events {
            writeln!(f, "  {kind:<34} {count:>7}")?;
        }
        Ok(())
    }
}
