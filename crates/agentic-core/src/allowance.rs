//! Allowances of agents, quotas of models, and what is asked and told of them.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use crate::{
    amount::Amount,
    clock::Timestamp,
    error::{Error, Result},
    id::{AgentId, JobId, ModelName},
    price::PriceSource,
    usage::{Categories, Directive, Figures},
};

/// The most models of one allowlist.
pub const MAX_ALLOWLIST: usize = 256;

/// What one agent may use; 0 or absent = unlimited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentAllowance {
    /// Whose.
    pub agent_id: AgentId,
    /// Tokens a UTC day.
    #[serde(default)]
    pub daily_token_limit: Amount,
    /// Jobs a UTC day.
    #[serde(default)]
    pub daily_job_limit: Amount,
    /// Jobs at once.
    #[serde(default)]
    pub concurrent_jobs: Amount,
    /// How long one attempt may take, in seconds.
    #[serde(default)]
    pub max_job_duration_secs: u64,
    /// The models that it may use; empty = every model.
    #[serde(default)]
    pub model_allowlist: BTreeSet<ModelName>,
}

impl AgentAllowance {
    /// An allowance without limits.
    pub fn unlimited(agent_id: AgentId) -> Self {
        Self {
            agent_id,
            daily_token_limit: Amount::ZERO,
            daily_job_limit: Amount::ZERO,
            concurrent_jobs: Amount::ZERO,
            max_job_duration_secs: 0,
            model_allowlist: BTreeSet::new(),
        }
    }

    /// Refuses an allowlist over its bound.
    ///
    /// # Errors
    /// `Invalid`, naming the field.
    pub fn validate(&self) -> Result<()> {
        if self.model_allowlist.len() > MAX_ALLOWLIST {
            return Err(Error::invalid("model_allowlist", "must be at most 256"));
        }
        Ok(())
    }
}

/// What all agents together may use of one model; 0 or absent = unlimited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelQuota {
    /// Which model.
    pub model: ModelName,
    /// Tokens a UTC day.
    #[serde(default)]
    pub daily_token_budget: Amount,
    /// Requests in any hour.
    #[serde(default)]
    pub hourly_rate_limit: Amount,
    /// Spend in total, in cents.
    #[serde(default)]
    pub cost_ceiling: Amount,
    /// What a token costs; absent = not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    /// Where the price was taken from; absent = it was set by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_source: Option<PriceSource>,
    /// Where the spend held against the ceiling comes from.
    #[serde(default)]
    pub cost: CostBasis,
    /// What is used of it; only on read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<ModelUsage>,
}

impl ModelQuota {
    /// A quota without limits.
    pub fn unlimited(model: ModelName) -> Self {
        Self {
            model,
            daily_token_budget: Amount::ZERO,
            hourly_rate_limit: Amount::ZERO,
            cost_ceiling: Amount::ZERO,
            price: None,
            price_source: None,
            cost: CostBasis::Priced,
            usage: None,
        }
    }

    /// Refuses a price's source that is none, or has no price.
    ///
    /// # Errors
    /// `Invalid`, naming the field.
    pub fn validate(&self) -> Result<()> {
        match &self.price_source {
            Some(_) if self.price.is_none() => Err(Error::invalid("price_source", "there is no price")),
            Some(source) => source.validate(),
            None => Ok(()),
        }
    }

    /// The ceiling in micro-dollars; `None` = unlimited.
    pub fn ceiling_micros(&self) -> Option<Amount> {
        (!self.cost_ceiling.is_zero())
            .then(|| Amount::saturating(self.cost_ceiling.get().saturating_mul(10_000)))
    }
}

/// Where a model's spend comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CostBasis {
    /// Tokens times [`Price`]; a ceiling without a price refuses every job.
    #[default]
    Priced,
    /// What agents report; a job that reports no cost spends nothing.
    Reported,
}

impl CostBasis {
    /// The name in storage and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Priced => "priced",
            Self::Reported => "reported",
        }
    }
}

/// What a token of a model costs, in picodollars (10⁻¹² dollars, so that $3 a million tokens is 3,000,000).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Price {
    /// A token in.
    pub input: Amount,
    /// A token out.
    pub output: Amount,
    /// A token in that was read from the provider's cache; absent = as any token in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_read: Option<Amount>,
    /// A token in that was written to it; absent = as any token in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<Amount>,
    /// A token of reasoning; absent = as any token out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<Amount>,
}

impl Price {
    /// A price that knows no categories.
    pub const fn flat(input: Amount, output: Amount) -> Self {
        Self { input, output, cache_read: None, cache_write: None, reasoning: None }
    }

    /// The cost of these figures in micro-dollars, rounded up once, on the cumulative figure.
    pub fn cost(&self, figures: &Figures) -> Amount {
        let Figures { tokens_in, tokens_out, cache_read, cache_write, reasoning, .. } = *figures;
        let pico: u128 = [
            (tokens_in.minus(cache_read).minus(cache_write), self.input),
            (cache_read, self.cache_read.unwrap_or(self.input)),
            (cache_write, self.cache_write.unwrap_or(self.input)),
            (tokens_out.minus(reasoning), self.output),
            (reasoning, self.reasoning.unwrap_or(self.output)),
        ]
        .into_iter()
        .map(|(tokens, price)| u128::from(tokens.get()) * u128::from(price.get()))
        .sum();
        u64::try_from(pico.div_ceil(1_000_000)).map_or(Amount::MAX, Amount::saturating)
    }
}

/// How much of an allowance is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuotaStatus {
    /// Under 80 % of every limit.
    Ok,
    /// From 80 % on.
    Warning,
    /// No room.
    Exceeded,
}

/// The answer of a check: whether a job would be admitted now, and what is left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaCheck {
    /// Whether a job would be admitted now.
    pub allowed: bool,
    /// How near the limits are.
    pub status: QuotaStatus,
    /// Tokens left today; absent = unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining_tokens: Option<Amount>,
    /// Jobs left today; absent = unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining_jobs: Option<Amount>,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it is worth another try, where that can be computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
    /// Shadow limits that have no room: they would have refused, and refuse nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub would_refuse: Vec<String>,
}

/// What an agent used today.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageRecord {
    /// Who.
    pub agent_id: AgentId,
    /// Tokens today, refunds taken off.
    pub tokens_used: Amount,
    /// Jobs started today.
    pub jobs_started: Amount,
    /// Live reservations now.
    pub active_jobs: Amount,
    /// The start of the UTC day.
    pub period_start: Timestamp,
}

/// What was used of a model, over all agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelUsage {
    /// Tokens today.
    pub tokens_today: Amount,
    /// Requests in the last hour.
    pub requests_last_hour: Amount,
    /// Spend in total, in micro-dollars.
    pub cost_micros: Amount,
    /// Live reservations now.
    pub active_jobs: Amount,
}

/// What a usage report is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageEvent {
    /// The job began.
    JobStarted,
    /// It goes on.
    JobProgress,
    /// It ended well.
    JobCompleted,
    /// It ended badly: half of its tokens are given back.
    JobFailed,
    /// It was called off: all of its tokens are given back.
    JobCancelled,
}

/// What an agent used for a job so far. Figures are cumulative: replay and reorder can never charge twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageReport {
    /// Who used it.
    pub agent_id: AgentId,
    /// For which job.
    pub job_id: JobId,
    /// Of which model; absent = the job's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelName>,
    /// Tokens in, since the job began; absent or 0 = the sum of the categories.
    #[serde(default)]
    pub tokens_in: Amount,
    /// Tokens out, since the job began; absent or 0 = the sum of the categories.
    #[serde(default)]
    pub tokens_out: Amount,
    /// Tokens in that no cache had to do with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Amount>,
    /// Tokens in that were read from the provider's cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_read: Option<Amount>,
    /// Tokens in that were written to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<Amount>,
    /// Tokens out that were said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Amount>,
    /// Tokens out that were thought.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<Amount>,
    /// Money, since the job began, where the agent knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_micros: Option<Amount>,
    /// Requests to the model since the job began, where the agent knows them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<Amount>,
    /// What the report is about.
    pub event: UsageEvent,
    /// When the agent measured; for people, never for arithmetic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Timestamp>,
    /// The provider's usage limit is used up until then: nothing more of this model is given to this agent until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resets_at: Option<Timestamp>,
}

impl UsageReport {
    /// A report without figures.
    pub fn new(agent_id: AgentId, job_id: JobId, event: UsageEvent) -> Self {
        Self {
            agent_id,
            job_id,
            model: None,
            tokens_in: Amount::ZERO,
            tokens_out: Amount::ZERO,
            input: None,
            cache_read: None,
            cache_write: None,
            output: None,
            reasoning: None,
            cost_micros: None,
            requests: None,
            event,
            timestamp: None,
            resets_at: None,
        }
    }

    /// A report of these figures.
    #[must_use]
    pub fn with(self, figures: Figures) -> Self {
        let part = |amount: Amount| (!amount.is_zero()).then_some(amount);
        Self {
            tokens_in: figures.tokens_in,
            tokens_out: figures.tokens_out,
            cache_read: part(figures.cache_read),
            cache_write: part(figures.cache_write),
            reasoning: part(figures.reasoning),
            cost_micros: figures.cost_micros,
            requests: figures.requests,
            ..self
        }
    }

    /// Its figures.
    ///
    /// # Errors
    /// `Invalid` where a total and its categories contradict one another.
    pub fn figures(&self) -> Result<Figures> {
        let Self { input, cache_read, cache_write, output, reasoning, .. } = *self;
        let categories = Categories { input, cache_read, cache_write, output, reasoning };
        let tokens = Figures::of_tokens(self.tokens_in, self.tokens_out, &categories)?;
        Ok(Figures { cost_micros: self.cost_micros, requests: self.requests, ..tokens })
    }
}

/// What a report is answered with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageAnswer {
    /// What the agent should do.
    pub directive: Directive,
    /// Why, unless it is to go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Tokens left under the tightest limit; absent = unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining_tokens: Option<Amount>,
    /// Micro-dollars that the job was charged so far, over all its models.
    #[serde(default)]
    pub cost_micros: Amount,
    /// Where they come from: `priced` as soon as a part of them does; absent where nobody says what the job costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_source: Option<CostBasis>,
    /// The job was never admitted: charged all the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unadmitted: bool,
    /// The job was settled before: growth is charged, and never refunded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub late: bool,
}

impl fmt::Display for QuotaStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Exceeded => "exceeded",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cost_is_rounded_up_once() {
        let price = Price::flat(3_000_000u32.into(), 15_000_000u32.into());
        let figures =
            |i: u32, o: u32| Figures { tokens_in: i.into(), tokens_out: o.into(), ..Figures::default() };
        assert_eq!(price.cost(&figures(1_000_000, 0)).get(), 3_000_000, "$3 a million tokens");
        assert_eq!(price.cost(&figures(1, 1)).get(), 18);
        let cheap = Price::flat(Amount::ONE, Amount::ZERO);
        assert_eq!(cheap.cost(&figures(1, 0)).get(), 1);
        assert_eq!(cheap.cost(&figures(1_000_001, 0)).get(), 2);
    }

    #[test]
    fn each_category_has_its_price_and_one_without_is_as_its_total() {
        let flat = Price::flat(3_000_000u32.into(), 15_000_000u32.into());
        let price = Price {
            cache_read: Some(300_000u32.into()),
            cache_write: Some(3_750_000u32.into()),
            reasoning: Some(20_000_000u32.into()),
            ..flat
        };
        let figures = Figures {
            tokens_in: 1_000u32.into(),
            tokens_out: 100u32.into(),
            cache_read: 600u32.into(),
            cache_write: 300u32.into(),
            reasoning: 40u32.into(),
            ..Figures::default()
        };
        // 100 · 3 + 600 · 0.3 + 300 · 3.75 + 60 · 15 + 40 · 20
        assert_eq!(price.cost(&figures).get(), 300 + 180 + 1_125 + 900 + 800);
        assert_eq!(flat.cost(&figures).get(), 3_000 + 1_500);
        let most = Figures { tokens_in: Amount::MAX, cache_read: Amount::MAX, ..Figures::default() };
        assert_eq!(Price::flat(Amount::MAX, Amount::MAX).cost(&most), Amount::MAX);
    }

    #[test]
    fn a_ceiling_is_in_cents() {
        let quota = ModelQuota { cost_ceiling: 150u32.into(), ..ModelQuota::unlimited("m".parse().unwrap()) };
        assert_eq!(quota.ceiling_micros().unwrap().get(), 1_500_000);
        assert_eq!(ModelQuota::unlimited("m".parse().unwrap()).ceiling_micros(), None);
    }
}
