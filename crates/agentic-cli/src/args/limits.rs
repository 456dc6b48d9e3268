//! The commands about allowances and quotas.

use std::{path::PathBuf, time::Duration};

use agentic_core::{
    amount::Amount,
    decimal,
    error::Result,
    id::{AgentId, ModelName},
};
use clap::{Args, Subcommand, ValueEnum};

use super::tasks::When;

/// What to do with allowances.
#[derive(Debug, Subcommand)]
pub(crate) enum AllowanceCommand {
    /// List them
    List,
    /// Show one
    Get {
        /// The agent
        agent: AgentId,
    },
    /// Set limits; what is not named stays as it is
    Set {
        /// The agent
        agent: AgentId,
        #[command(flatten)]
        limits: AllowanceLimits,
    },
    /// Remove one: the default allowance holds again
    Delete {
        /// The agent
        agent: AgentId,
    },
    /// Show what an agent used today
    Usage {
        /// The agent
        agent: AgentId,
    },
    /// Set what an agent used today to zero, by a balancing entry of the ledger
    Reset {
        /// The agent
        agent: AgentId,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// What to do with the ledger.
#[derive(Debug, Subcommand)]
pub(crate) enum LedgerCommand {
    /// Recompute every meter from its entries, and print each difference; ends with 1 if there is one
    Verify,
    /// Show what an agent was charged and given back, newest first
    Show {
        /// The agent
        agent: AgentId,
        /// At most so many entries
        #[arg(long, value_name = "N", default_value = "50", value_parser = one_or_more)]
        limit: usize,
        /// None from before this instant (2026-01-31T12:00:00Z), or longer ago than this (30m)
        #[arg(long, value_name = "WHEN")]
        since: Option<When>,
    },
}

/// Reads a count.
fn one_or_more(text: &str) -> Result<usize, String> {
    let count: Option<usize> = text.parse().ok().filter(|count| *count > 0);
    count.ok_or_else(|| "must be a whole number from 1 on".to_owned())
}

/// The limits of an allowance; 0 = unlimited.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct AllowanceLimits {
    /// Tokens a UTC day; 0 = unlimited
    #[arg(long, value_name = "N")]
    pub daily_tokens: Option<Amount>,
    /// Jobs a UTC day; 0 = unlimited
    #[arg(long, value_name = "N")]
    pub daily_jobs: Option<Amount>,
    /// Jobs at once; 0 = unlimited
    #[arg(long, value_name = "N")]
    pub concurrent: Option<Amount>,
    /// How long one attempt may take, such as 30m; 0s = unlimited
    #[arg(long, value_name = "TIME", value_parser = crate::config::duration::parse)]
    pub max_duration: Option<Duration>,
    /// A model that it may use, in the place of what it was; repeat it, or separate with commas
    #[arg(long, value_name = "MODEL", value_delimiter = ',')]
    pub allow_model: Vec<ModelName>,
    /// It may use every model
    #[arg(long, conflicts_with = "allow_model")]
    pub any_model: bool,
}

/// What to do with models.
#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    /// List them
    List,
    /// Show one
    Get {
        /// The model
        model: ModelName,
    },
    /// Set limits and prices; what is not named stays as it is
    Set {
        /// The model
        model: ModelName,
        #[command(flatten)]
        limits: ModelLimits,
    },
    /// Take prices from a price map, the JSON file that LiteLLM publishes; limits stay as they are
    ImportPrices(ImportArgs),
    /// Remove its limits
    Delete {
        /// The model
        model: ModelName,
    },
}

/// Which prices to take.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The price map
    pub file: PathBuf,
    /// Take the price of this model, and of no other; MODEL=KEY takes it from that key of the map; repeat it, or separate
    /// with commas [default: every model that has a quota]
    #[arg(long, value_name = "MODEL", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Take all of them
    #[arg(long, conflicts_with = "only")]
    pub all: bool,
    /// Which price to take where there are several by the size of a context or the time in a cache
    #[arg(long, default_value = "highest")]
    pub tier: Tier,
    /// Say what would be taken, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Which of several prices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tier {
    /// The highest of each category: no budget is passed
    Highest,
    /// Those without a condition: a request that meets one costs more than is charged
    Base,
}

/// The limits of a model over all agents; 0 = unlimited.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct ModelLimits {
    /// Tokens a UTC day; 0 = unlimited
    #[arg(long, value_name = "N")]
    pub daily_tokens: Option<Amount>,
    /// Requests in any hour; 0 = unlimited
    #[arg(long, value_name = "N")]
    pub hourly_requests: Option<Amount>,
    /// Spend in total, in cents; 0 = unlimited
    #[arg(long, value_name = "CENTS")]
    pub cost_ceiling: Option<Amount>,
    /// What a million tokens in cost, in dollars, such as 3.00
    #[arg(long, value_name = "DOLLARS", requires = "price_out", value_parser = per_million)]
    pub price_in: Option<Amount>,
    /// What a million tokens out cost, in dollars
    #[arg(long, value_name = "DOLLARS", requires = "price_in", value_parser = per_million)]
    pub price_out: Option<Amount>,
    /// What a million tokens cost that are read from the provider's cache [default: as tokens in]
    #[arg(long, value_name = "DOLLARS", requires = "price_in", value_parser = per_million)]
    pub price_cache_read: Option<Amount>,
    /// What a million tokens cost that are written to it [default: as tokens in]
    #[arg(long, value_name = "DOLLARS", requires = "price_in", value_parser = per_million)]
    pub price_cache_write: Option<Amount>,
    /// What a million tokens of reasoning cost [default: as tokens out]
    #[arg(long, value_name = "DOLLARS", requires = "price_in", value_parser = per_million)]
    pub price_reasoning: Option<Amount>,
    /// Where the spend comes from
    #[arg(long)]
    pub cost: Option<Cost>,
}

/// Where a model's spend comes from.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Cost {
    /// Tokens times price
    Priced,
    /// What agents report
    Reported,
}

/// Dollars a million tokens as text, in picodollars a token.
fn per_million(text: &str) -> Result<Amount> {
    decimal::scaled(text, 6)
}
