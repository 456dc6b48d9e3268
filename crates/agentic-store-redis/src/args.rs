//! The arguments of a script, in the way that `scripts/lib/base.lua` reads them.

use std::fmt::Display;

use agentic_core::{amount::Amount, clock::Timestamp, error::Result, usage::Figures};
use fred::types::Value;
use serde::Serialize;

use crate::error::unreadable;

/// A list of arguments; each method appends.
#[derive(Debug)]
pub(crate) struct Args(Vec<Value>);

impl Args {
    /// The time of the caller stands first.
    pub(crate) fn at(now: Timestamp) -> Self {
        Self(vec![Value::from(now.millis().to_string())])
    }

    /// A script whose answer does not depend on the time.
    pub(crate) fn timeless() -> Self {
        Self::at(Timestamp::EPOCH)
    }

    /// A value that is there.
    pub(crate) fn value(mut self, value: impl Display) -> Self {
        self.0.push(Value::from(value.to_string()));
        self
    }

    /// A value that is never empty, where an empty one is an absent one.
    pub(crate) fn maybe(self, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.value(value),
            None => self.value(""),
        }
    }

    /// A text that may be absent, and may be empty.
    pub(crate) fn text(self, text: Option<&str>) -> Self {
        match text {
            Some(text) => self.value(format_args!("={text}")),
            None => self.value(""),
        }
    }

    /// An instant.
    pub(crate) fn time(self, at: Timestamp) -> Self {
        self.value(at.millis())
    }

    /// An instant that may be absent.
    pub(crate) fn maybe_time(self, at: Option<Timestamp>) -> Self {
        self.maybe(at.map(Timestamp::millis))
    }

    /// A yes or a no.
    pub(crate) fn flag(self, flag: bool) -> Self {
        self.value(u8::from(flag))
    }

    /// A value as JSON.
    pub(crate) fn json(self, value: &impl Serialize) -> Result<Self> {
        Ok(self.value(serde_json::to_string(value).map_err(unreadable)?))
    }

    /// Cumulative figures that may be absent.
    pub(crate) fn figures(self, figures: Option<Figures>) -> Self {
        match figures {
            Some(figures) => {
                let Figures { tokens_in, tokens_out, cache_read, cache_write, reasoning, .. } = figures;
                let part = |amount: Amount| (!amount.is_zero()).then_some(amount);
                self.value(1)
                    .value(tokens_in)
                    .value(tokens_out)
                    .maybe(part(cache_read))
                    .maybe(part(cache_write))
                    .maybe(part(reasoning))
                    .maybe(figures.cost_micros)
                    .maybe(figures.requests)
            }
            None => self.value(0),
        }
    }

    pub(crate) fn into_values(self) -> Vec<Value> {
        self.0
    }
}
