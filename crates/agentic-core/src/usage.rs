//! Cumulative usage of a job, and what to say to who reports it.

use serde::{Deserialize, Serialize};

use crate::amount::Amount;

/// What a job used since it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Figures {
    /// Tokens in.
    pub tokens_in: Amount,
    /// Tokens out.
    pub tokens_out: Amount,
    /// Micro-dollars, where the agent knows them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_micros: Option<Amount>,
    /// Requests, where the agent knows them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<Amount>,
}

impl Figures {
    /// Tokens in and out together.
    pub fn tokens(&self) -> Amount {
        self.tokens_in.plus(self.tokens_out)
    }

    /// The higher of both, figure by figure: reports may come twice, late and in any order.
    #[must_use]
    pub fn highest(self, other: Self) -> Self {
        Self {
            tokens_in: self.tokens_in.max(other.tokens_in),
            tokens_out: self.tokens_out.max(other.tokens_out),
            cost_micros: self.cost_micros.max(other.cost_micros),
            requests: self.requests.max(other.requests),
        }
    }
}

/// What a running attempt is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Directive {
    /// Go on.
    #[default]
    Continue,
    /// Come to an end: 90 % of a token or cost cap is used.
    WrapUp,
    /// End now: a cap is used up, the task was called off, or the lease is lost.
    Stop,
}

/// The part of a cap, in percent, from which an agent is told to wrap up.
pub const WRAP_UP_PERCENT: u32 = 90;
/// The part of a cap, in percent, from which a `quota_warning` is due.
pub const WARNING_PERCENT: u32 = 80;

impl Directive {
    /// What `used` of `cap` tokens or micro-dollars means for a running job (design §7).
    pub fn for_use(used: Amount, cap: Amount) -> Self {
        if used >= cap {
            Self::Stop
        } else if used >= cap.percent(WRAP_UP_PERCENT) {
            Self::WrapUp
        } else {
            Self::Continue
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn figures(tokens_in: u32, tokens_out: u32) -> Figures {
        Figures { tokens_in: tokens_in.into(), tokens_out: tokens_out.into(), ..Figures::default() }
    }

    #[test]
    fn directives_at_the_edges() {
        let says = |used: u32| Directive::for_use(used.into(), 100u32.into());
        assert_eq!(
            [says(89), says(90), says(99), says(100), says(101)],
            [Directive::Continue, Directive::WrapUp, Directive::WrapUp, Directive::Stop, Directive::Stop]
        );
        assert_eq!(
            Directive::for_use(0u32.into(), 0u32.into()),
            Directive::Stop,
            "a cap of nothing is used up"
        );
    }

    proptest! {
        /// Any order and repetition of the same cumulative reports ends at the same figures.
        #[test]
        fn replay_and_reorder_change_nothing(mut reports in proptest::collection::vec((0u32..99, 0u32..99), 1..8)) {
            let high = |reports: &[(u32, u32)]| {
                reports.iter().fold(Figures::default(), |high, &(i, o)| high.highest(figures(i, o)))
            };
            let once = high(&reports);
            let twice = reports.clone();
            reports.reverse();
            reports.extend(twice);
            prop_assert_eq!(high(&reports), once);
        }
    }
}
