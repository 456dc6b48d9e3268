//! Cumulative usage of a job, and what to say to who reports it.

use serde::{Deserialize, Serialize};

use crate::{
    amount::Amount,
    error::{Error, Result},
};

/// What a job used since it began.
///
/// Tokens may come by category. On the wire the categories are disjoint: `input`, `cache_read` and `cache_write` are the
/// tokens in, `output` and `reasoning` the tokens out, and `tokens_in` and `tokens_out` are their sums; a total that is
/// absent, or 0, is the sum. Kept are the totals and what is a part of them, so that plain reports and reports by category
/// of one job go together: nothing is counted twice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "FiguresBody")]
pub struct Figures {
    /// Tokens in, those of the cache included.
    pub tokens_in: Amount,
    /// Tokens out, those of reasoning included.
    pub tokens_out: Amount,
    /// Of the tokens in, those that were read from the provider's cache.
    #[serde(skip_serializing_if = "Amount::is_zero_ref")]
    pub cache_read: Amount,
    /// Of the tokens in, those that were written to the provider's cache.
    #[serde(skip_serializing_if = "Amount::is_zero_ref")]
    pub cache_write: Amount,
    /// Of the tokens out, those that the model thought and did not say.
    #[serde(skip_serializing_if = "Amount::is_zero_ref")]
    pub reasoning: Amount,
    /// Micro-dollars, where the agent knows them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_micros: Option<Amount>,
    /// Requests, where the agent knows them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<Amount>,
}

/// Tokens by category, each since the job began, as an agent reports them; disjoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Categories {
    /// Tokens in that no cache had to do with.
    pub input: Option<Amount>,
    /// Tokens in that were read from the provider's cache.
    pub cache_read: Option<Amount>,
    /// Tokens in that were written to it.
    pub cache_write: Option<Amount>,
    /// Tokens out that were said.
    pub output: Option<Amount>,
    /// Tokens out that were thought.
    pub reasoning: Option<Amount>,
}

/// [`Figures`] as they are sent.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct FiguresBody {
    tokens_in: Amount,
    tokens_out: Amount,
    input: Option<Amount>,
    cache_read: Option<Amount>,
    cache_write: Option<Amount>,
    output: Option<Amount>,
    reasoning: Option<Amount>,
    cost_micros: Option<Amount>,
    requests: Option<Amount>,
}

impl TryFrom<FiguresBody> for Figures {
    type Error = Error;
    fn try_from(body: FiguresBody) -> Result<Self> {
        let FiguresBody { tokens_in, tokens_out, input, cache_read, cache_write, output, reasoning, .. } =
            body;
        let categories = Categories { input, cache_read, cache_write, output, reasoning };
        let tokens = Self::of_tokens(tokens_in, tokens_out, &categories)?;
        Ok(Self { cost_micros: body.cost_micros, requests: body.requests, ..tokens })
    }
}

impl Figures {
    /// Figures of totals and categories; a total of 0 is the sum of its categories.
    ///
    /// # Errors
    /// `Invalid` where a total and its categories contradict one another.
    pub fn of_tokens(tokens_in: Amount, tokens_out: Amount, by: &Categories) -> Result<Self> {
        let parts = |amount: Option<Amount>| amount.unwrap_or_default();
        let (cache_read, cache_write, reasoning) =
            (parts(by.cache_read), parts(by.cache_write), parts(by.reasoning));
        let cached = cache_read.get() + cache_write.get();
        Ok(Self {
            tokens_in: total("tokens_in", "input, cache_read and cache_write", tokens_in, by.input, cached)?,
            tokens_out: total("tokens_out", "output and reasoning", tokens_out, by.output, reasoning.get())?,
            cache_read,
            cache_write,
            reasoning,
            ..Self::default()
        })
    }

    /// Tokens in and out together.
    pub fn tokens(&self) -> Amount {
        self.tokens_in.plus(self.tokens_out)
    }

    /// The higher of both, figure by figure: reports may come twice, late and in any order. A total is never below its
    /// parts.
    #[must_use]
    pub fn highest(self, other: Self) -> Self {
        let cache_read = self.cache_read.max(other.cache_read);
        let cache_write = self.cache_write.max(other.cache_write);
        let reasoning = self.reasoning.max(other.reasoning);
        Self {
            tokens_in: self.tokens_in.max(other.tokens_in).max(cache_read.plus(cache_write)),
            tokens_out: self.tokens_out.max(other.tokens_out).max(reasoning),
            cache_read,
            cache_write,
            reasoning,
            cost_micros: self.cost_micros.max(other.cost_micros),
            requests: self.requests.max(other.requests),
        }
    }
}

/// A total of the category that has no part in it, `rest`, and of the others, `parts`.
fn total(field: &str, sum_of: &str, total: Amount, rest: Option<Amount>, parts: u64) -> Result<Amount> {
    let sum = Amount::try_new(rest.unwrap_or_default().get() + parts)
        .map_err(|_| Error::invalid(field, "is above 9007199254740991 (2^53 - 1)"))?;
    if total.is_zero() {
        return Ok(sum);
    }
    match rest {
        Some(_) if sum != total => {
            Err(Error::invalid(field, format!("{total} is not the sum of {sum_of}, {sum}")))
        }
        None if sum > total => {
            Err(Error::invalid(field, format!("{total} is less than its categories, {sum}")))
        }
        _ => Ok(total),
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

    fn read(json: &str) -> std::result::Result<Figures, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn totals_are_the_sums_of_their_categories() {
        for (json, tokens_in, tokens_out) in [
            (r#"{"tokens_in":5,"tokens_out":7}"#, 5, 7),
            (r#"{"input":5,"cache_read":3,"cache_write":2,"output":4,"reasoning":3}"#, 10, 7),
            (r#"{"tokens_in":10,"input":5,"cache_read":3,"cache_write":2}"#, 10, 0),
            (r#"{"tokens_in":10,"cache_read":3}"#, 10, 0),
            (r#"{"tokens_in":3,"cache_read":3,"tokens_out":2,"reasoning":2}"#, 3, 2),
            (r#"{"cache_write":3}"#, 3, 0),
            (r#"{"tokens_in":9007199254740991,"input":9007199254740990,"cache_read":1}"#, (1 << 53) - 1, 0),
        ] {
            let figures = read(json).unwrap();
            assert_eq!(
                (figures.tokens_in.get(), figures.tokens_out.get()),
                (tokens_in, tokens_out),
                "{json}"
            );
            let written = serde_json::to_string(&figures).unwrap();
            assert_eq!(read(&written).unwrap(), figures, "{written}");
        }
    }

    #[test]
    fn totals_that_contradict_their_categories_are_refused() {
        for (json, field) in [
            (r#"{"tokens_in":9,"input":5,"cache_read":3,"cache_write":2}"#, "tokens_in"),
            (r#"{"tokens_in":11,"input":5,"cache_read":3,"cache_write":2}"#, "tokens_in"),
            (r#"{"tokens_in":5,"input":0}"#, "tokens_in"),
            (r#"{"tokens_in":2,"cache_read":3}"#, "tokens_in"),
            (r#"{"tokens_out":2,"output":3}"#, "tokens_out"),
            (r#"{"tokens_out":2,"reasoning":3}"#, "tokens_out"),
            (r#"{"input":9007199254740991,"cache_read":1}"#, "tokens_in"),
        ] {
            let error = read(json).unwrap_err();
            assert!(error.starts_with(field), "{json}: {error}");
        }
    }

    fn by_category(
        (input, cache_read, cache_write, output, reasoning): (u32, u32, u32, u32, u32),
    ) -> Figures {
        let some = |amount: u32| Some(Amount::from(amount));
        let categories = Categories {
            input: some(input),
            cache_read: some(cache_read),
            cache_write: some(cache_write),
            output: some(output),
            reasoning: some(reasoning),
        };
        Figures::of_tokens(Amount::ZERO, Amount::ZERO, &categories).unwrap()
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

        /// The same by category, and of what grows from report to report the last one is the highest.
        #[test]
        fn categories_are_high_water_marks(growth in proptest::collection::vec((0u32..9, 0u32..9, 0u32..9, 0u32..9, 0u32..9), 1..8), from in 0usize..8) {
            let sum = |a: (u32, u32, u32, u32, u32), b: &(u32, u32, u32, u32, u32)| {
                (a.0 + b.0, a.1 + b.1, a.2 + b.2, a.3 + b.3, a.4 + b.4)
            };
            let mut reports = Vec::new();
            let mut so_far = (0, 0, 0, 0, 0);
            for more in &growth {
                so_far = sum(so_far, more);
                reports.push(by_category(so_far));
            }
            let last = *reports.last().unwrap();
            let middle = from % reports.len();
            reports.rotate_left(middle);
            let high = reports.iter().chain(&reports).fold(Figures::default(), |high, report| high.highest(*report));
            prop_assert_eq!(high, last);
        }
    }
}
