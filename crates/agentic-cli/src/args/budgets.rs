//! The commands about budgets.

use std::str::FromStr;

use agentic_core::{
    amount::Amount,
    budget::BudgetLimit,
    clock::Timestamp,
    decimal,
    error::{Error, Result},
    limit::{Meter, Scope, Window},
    task::whole_secs,
};
use clap::{Args, Subcommand};

/// What to do with budgets.
#[derive(Debug, Subcommand)]
pub(crate) enum BudgetCommand {
    /// List them, and how they stand
    List,
    /// Show one, and how it stands
    Get {
        /// fleet, project:NAME, agent:ID, model:NAME or "agent:ID model:NAME"
        scope: Scope,
    },
    /// Set limits; what is not named stays as it is
    #[command(after_help = "Examples:
  agentic budget set fleet --daily-tokens 5000000 --daily-cost 20.00
  agentic budget set \"agent:a1 model:opus\" --limit tokens:5h:2000000 --limit tokens:7d:20000000
  agentic budget set project:web --daily-cost 5 --shadow")]
    Set {
        /// fleet, project:NAME, agent:ID, model:NAME or "agent:ID model:NAME"
        scope: Scope,
        #[command(flatten)]
        limits: BudgetLimits,
    },
    /// End a hold before its time: a provider said that its limit is used up, and it is not
    Lift {
        /// The scope
        scope: Scope,
    },
    /// Remove one
    Delete {
        /// The scope
        scope: Scope,
    },
}

/// The limits of a budget.
#[derive(Debug, Args)]
pub(crate) struct BudgetLimits {
    /// Tokens a UTC day; 0 = unlimited
    #[arg(long, value_name = "N")]
    pub daily_tokens: Option<Amount>,
    /// Spend a UTC day, in dollars; 0 = unlimited
    #[arg(long, value_name = "DOLLARS", value_parser = dollars)]
    pub daily_cost: Option<Amount>,
    /// Jobs a UTC day; 0 = unlimited
    #[arg(long, value_name = "N")]
    pub daily_jobs: Option<Amount>,
    /// Jobs at once; 0 = unlimited
    #[arg(long, value_name = "N")]
    pub concurrent: Option<Amount>,
    /// Any limit, METER:WINDOW:CAP: tokens, cost (in dollars), jobs or requests; over day, lifetime, last-TIME (a
    /// window that slides, such as last-1h) or TIME (one that begins at its first use, such as 5h or 7d); cap 0 removes
    /// it; repeat it
    #[arg(long, value_name = "LIMIT")]
    pub limit: Vec<AnyLimit>,
    /// What is named here is evaluated and told, and refuses nothing
    #[arg(long)]
    pub shadow: bool,
    /// When the present window of what is named here ends, as the provider says; for windows that begin at their first use
    #[arg(long, value_name = "TIME")]
    pub resets_at: Option<Timestamp>,
}

/// A limit as it is typed; cap 0 removes it.
#[derive(Debug, Clone)]
pub(crate) struct AnyLimit(pub(crate) BudgetLimit);

impl FromStr for AnyLimit {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            let detail =
                "must be METER:WINDOW:CAP, such as tokens:5h:2000000, cost:day:20.00 or requests:last-1h:100";
            Error::invalid("limit", detail)
        };
        let mut parts = text.split(':');
        let (Some(meter), Some(window), Some(cap), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong());
        };
        let meter = [Meter::Tokens, Meter::Jobs, Meter::Requests, Meter::Cost]
            .into_iter()
            .find(|known| known.as_str() == meter)
            .ok_or_else(wrong)?;
        let secs = |time: &str| {
            let time = crate::config::duration::parse(time).map_err(|_| wrong())?;
            Ok::<_, Error>(whole_secs(time))
        };
        let window: Window = match (window, window.strip_prefix("last-")) {
            ("day" | "lifetime", _) => window.parse()?,
            (_, Some(time)) => format!("sliding:{}", secs(time)?).parse()?,
            (time, None) => format!("anchored:{}", secs(time)?).parse()?,
        };
        let cap = if meter == Meter::Cost { dollars(cap)? } else { cap.parse()? };
        Ok(Self(BudgetLimit::new(meter, window, cap)))
    }
}

impl BudgetLimits {
    /// What is named, in order; cap 0 removes.
    pub(crate) fn named(&self) -> Vec<BudgetLimit> {
        let day = |meter| move |cap| BudgetLimit::new(meter, Window::Day, cap);
        let mut named: Vec<BudgetLimit> = Vec::new();
        named.extend(self.daily_tokens.map(day(Meter::Tokens)));
        named.extend(self.daily_cost.map(day(Meter::Cost)));
        named.extend(self.daily_jobs.map(day(Meter::Jobs)));
        named.extend(self.concurrent.map(|cap| BudgetLimit::new(Meter::ActiveJobs, Window::Live, cap)));
        named.extend(self.limit.iter().map(|limit| limit.0.clone()));
        for limit in &mut named {
            limit.shadow = self.shadow;
            if let (Window::Anchored { secs, .. }, Some(end)) = (limit.window, self.resets_at) {
                limit.anchor = Some(end.minus(std::time::Duration::from_secs(secs.into())));
            }
        }
        named
    }
}

/// Dollars as text, in micro-dollars.
pub(crate) fn dollars(text: &str) -> Result<Amount> {
    decimal::scaled(text, 6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_they_are_typed() {
        for (text, meter, window, cap) in [
            ("tokens:5h:2000000", Meter::Tokens, "anchored:18000", 2_000_000),
            ("cost:7d:25.50", Meter::Cost, "anchored:604800", 25_500_000),
            ("requests:last-1h:100", Meter::Requests, "sliding:3600", 100),
            ("jobs:day:0", Meter::Jobs, "day", 0),
            ("cost:lifetime:1", Meter::Cost, "lifetime", 1_000_000),
        ] {
            let AnyLimit(limit) = text.parse().unwrap();
            assert_eq!(
                (limit.meter, limit.window.to_string().as_str(), limit.cap.get()),
                (meter, window, cap)
            );
        }
        for bad in [
            "",
            "tokens",
            "tokens:day",
            "tokens:day:1:2",
            "money:day:1",
            "tokens:fortnight:1",
            "active_jobs:live:1",
            "tokens:10s:1",
            "tokens:day:1.5",
            "tokens:last-61s:1",
        ] {
            assert!(bad.parse::<AnyLimit>().is_err(), "{bad}");
        }
    }
}
