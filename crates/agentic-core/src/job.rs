//! Jobs: attempts seen by the allowance side, and the arithmetic of their charges.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    allowance::{CostBasis, Price},
    amount::Amount,
    clock::Timestamp,
    id::{AgentId, JobId, ModelName, ProjectName},
    limit::{Held, Limit, Meter, MeterKey, Scope, Window},
    usage::Figures,
};

/// Where a reservation is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Admitted, not started: it holds its place, one job, one request and the tokens it asked for.
    Reserved,
    /// Started: the job and the request are used; it holds its place and what is left of its tokens.
    Started,
    /// Ended and charged; it holds nothing.
    Settled,
    /// Ended without having started; it held and cost nothing.
    Void,
}

impl JobState {
    /// The name in storage.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Started => "started",
            Self::Settled => "settled",
            Self::Void => "void",
        }
    }

    /// Whether the reservation holds anything, unless it has expired.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Reserved | Self::Started)
    }
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobOutcome {
    /// Nothing is given back.
    Completed,
    /// Half of the tokens are given back, rounded down.
    Failed,
    /// All of the tokens are given back.
    Cancelled,
    /// Nothing is given back.
    Released,
}

impl JobOutcome {
    /// What is given back of `gross` tokens (design §7).
    pub fn refund(self, gross: Amount) -> Amount {
        match self {
            Self::Completed | Self::Released => Amount::ZERO,
            Self::Failed => Amount::saturating(gross.get() / 2),
            Self::Cancelled => gross,
        }
    }
}

/// How many models one job counts: its own, and those that it reports beside it.
pub const MAX_MODELS: usize = 32;

/// What a job used of one model, and what that is held against.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The model; absent where neither task nor agent names one.
    pub model: Option<ModelName>,
    /// Its price, pinned at admission.
    pub price: Option<Price>,
    /// What is counted, and how far it may go, pinned at admission.
    pub limits: Vec<Limit>,
    /// The highest report.
    pub high: Figures,
    /// Micro-dollars charged so far.
    pub cost: Amount,
}

impl Line {
    /// Where its cost comes from: the agent, or its price; `None` where it has neither. A report below what was charged at
    /// the price changes nothing, so the cost is the price's still.
    pub fn cost_source(&self) -> Option<CostBasis> {
        let reported = self.high.cost_micros == Some(self.cost);
        if reported { Some(CostBasis::Reported) } else { self.price.map(|_| CostBasis::Priced) }
    }

    /// Takes a cumulative report, and says what it adds; `counted` requests were counted at the start.
    pub fn grow(&mut self, figures: Figures, counted: Amount) -> Growth {
        let high = self.high.highest(figures);
        let tokens = high.tokens().minus(self.high.tokens());
        // A reported cost replaces the computed one; spent money is never given back, so it can only grow.
        let cost =
            high.cost_micros.or_else(|| self.price.map(|price| price.cost(&high))).unwrap_or(self.cost);
        let requests = |figures: &Figures| figures.requests.unwrap_or_default().max(counted);
        let requests = requests(&high).minus(requests(&self.high));
        let growth = Growth { tokens, cost: cost.minus(self.cost), requests };
        self.cost = self.cost.max(cost);
        self.high = high;
        growth
    }
}

/// What a report adds to the meters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Growth {
    /// Tokens.
    pub tokens: Amount,
    /// Micro-dollars.
    pub cost: Amount,
    /// Requests.
    pub requests: Amount,
}

/// Tokens charged at one moment: what a refund is taken from, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// Under which line.
    pub line: usize,
    /// When; charges of one line and day are one, but those from before and after a reset of the agent's day.
    pub at: Timestamp,
    /// How many.
    pub tokens: Amount,
}

/// A reservation, and after it the record of what it cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The attempt.
    pub id: JobId,
    /// Which admission made it; a lost claim is voided by this, so that it cannot void another's.
    pub admission: String,
    /// Who runs it.
    pub agent_id: AgentId,
    /// Whose budget it is held against.
    pub project: Option<ProjectName>,
    /// When its task was created, where its admission said so.
    #[serde(default)]
    pub task_created_at: Option<Timestamp>,
    /// Tokens asked for.
    pub ask: Amount,
    /// When it was admitted.
    pub admitted_at: Timestamp,
    /// When it stops holding anything, unless extended; the same instant as its lease's.
    pub expires_at: Timestamp,
    /// When it started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default)]
    pub ended_at: Option<Timestamp>,
    /// Where it is in its life.
    pub state: JobState,
    /// How it ended.
    pub outcome: Option<JobOutcome>,
    /// By model, the admitted one first.
    pub lines: Vec<Line>,
    /// Tokens charged, oldest first.
    pub charges: Vec<Charge>,
    /// A limit told it to stop: it refunds nothing, however it ends.
    pub stopped: bool,
    /// It was never admitted: its usage is charged all the same, but it holds nothing.
    pub unadmitted: bool,
    /// It grew after it was settled.
    pub late: bool,
}

impl Job {
    /// The model that it was admitted for.
    pub fn model(&self) -> Option<&ModelName> {
        self.lines.first().and_then(|line| line.model.as_ref())
    }

    /// All tokens used so far.
    pub fn gross(&self) -> Amount {
        self.lines.iter().map(|line| line.high.tokens()).sum()
    }

    /// Micro-dollars charged so far.
    pub fn cost(&self) -> Amount {
        self.lines.iter().map(|line| line.cost).sum()
    }

    /// Where its cost comes from; `Priced` as soon as a part of it does, `None` where it has no cost.
    pub fn cost_source(&self) -> Option<CostBasis> {
        let mut sources = self.lines.iter().filter_map(Line::cost_source);
        let first = sources.next()?;
        Some(sources.find(|source| *source == CostBasis::Priced).unwrap_or(first))
    }

    /// Whether it holds anything at `now`; at its expiry it does not.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.state.is_open() && self.expires_at > now
    }

    /// What it holds, if it is live; nothing where nobody admitted it.
    pub fn held(&self) -> Held {
        if self.unadmitted {
            return Held::default();
        }
        Held {
            active: Amount::ONE,
            unstarted: if self.state == JobState::Reserved { Amount::ONE } else { Amount::ZERO },
            tokens: self.ask.minus(self.gross()),
        }
    }

    /// Whether it counts under `scope`.
    pub fn is_under(&self, scope: &Scope) -> bool {
        match scope {
            Scope::Agent(agent) => self.agent_id == *agent,
            Scope::Model(model) => self.model() == Some(model),
            Scope::AgentModel(agent, model) => self.agent_id == *agent && self.model() == Some(model),
            Scope::Project(project) => self.project.as_ref() == Some(project),
            Scope::Fleet => true,
        }
    }

    /// Every scope that it counts under.
    pub fn scopes(&self) -> Vec<Scope> {
        let mut scopes = vec![Scope::Fleet, Scope::Agent(self.agent_id.clone())];
        if let Some(model) = self.model() {
            scopes.push(Scope::Model(model.clone()));
            scopes.push(Scope::AgentModel(self.agent_id.clone(), model.clone()));
        }
        scopes.extend(self.project.clone().map(Scope::Project));
        scopes
    }

    /// Notes that `tokens` were charged under `line`; the agent's day was last reset at `reset`.
    pub fn note_charge(&mut self, line: usize, at: Timestamp, tokens: Amount, reset: Option<Timestamp>) {
        if tokens.is_zero() {
            return;
        }
        let part = |at: Timestamp| (Window::Day.bucket(at), reset.is_some_and(|reset| at <= reset));
        match self.charges.iter_mut().rfind(|c| c.line == line && part(c.at) == part(at)) {
            Some(charge) => charge.tokens = charge.tokens.plus(tokens),
            None => self.charges.push(Charge { line, at, tokens }),
        }
    }

    /// What ending as `outcome` gives back, as negative charges: from the newest charges first, nothing when a
    /// limit told the job to stop (else a stop would refill what it protects).
    pub fn refunds(&self, outcome: JobOutcome) -> Vec<Charge> {
        if self.stopped {
            return Vec::new();
        }
        let mut left = outcome.refund(self.charges.iter().map(|charge| charge.tokens).sum());
        let mut refunds = Vec::new();
        for charge in self.charges.iter().rev() {
            let tokens = charge.tokens.min(left);
            if !tokens.is_zero() {
                refunds.push(Charge { tokens, ..charge.clone() });
            }
            left = left.minus(tokens);
        }
        refunds
    }
}

/// What an entry of the ledger records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// A job started: one job, one request.
    Start,
    /// A job grew.
    Charge,
    /// A job ended and gave back.
    Refund,
    /// An operator reset an agent's day.
    Reset,
}

impl EntryKind {
    /// The name in storage and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Charge => "charge",
            Self::Refund => "refund",
            Self::Reset => "reset",
        }
    }
}

impl fmt::Display for EntryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One change of the meters, append-only: the meters are the sum of the entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What it records.
    pub kind: EntryKind,
    /// When it was written.
    pub at: Timestamp,
    /// For which job; a reset has none.
    pub job: Option<JobId>,
    /// Whose.
    pub agent_id: AgentId,
    /// Of which model.
    pub model: Option<ModelName>,
    /// Where the money that it charged comes from; absent where it charged none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_source: Option<CostBasis>,
    /// Which meters it moved, in which bucket, by how much.
    pub moves: Vec<Move>,
}

/// The movement of one meter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// Which.
    pub key: MeterKey,
    /// In which bucket.
    pub bucket: i64,
    /// By how much.
    pub delta: i64,
}

impl Move {
    /// The movements of every meter of `limits` that counts `meter`, at `at`.
    pub fn each(limits: &[Limit], meter: Meter, at: Timestamp, delta: i64) -> impl Iterator<Item = Self> {
        limits.iter().filter(move |limit| limit.key.meter == meter && delta != 0).map(move |limit| Self {
            key: limit.key.clone(),
            bucket: limit.key.window.bucket(at),
            delta,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(charges: &[(i64, u32)]) -> Job {
        let day = 86_400_000;
        let mut job = Job {
            id: "t#1".parse().unwrap(),
            admission: String::new(),
            agent_id: "a".parse().unwrap(),
            project: None,
            task_created_at: None,
            ask: Amount::ZERO,
            admitted_at: Timestamp::EPOCH,
            expires_at: Timestamp::MAX,
            started_at: None,
            ended_at: None,
            state: JobState::Started,
            outcome: None,
            lines: Vec::new(),
            charges: Vec::new(),
            stopped: false,
            unadmitted: false,
            late: false,
        };
        for &(at, tokens) in charges {
            job.note_charge(0, Timestamp::from_millis(at * day), tokens.into(), None);
        }
        job
    }

    fn refunds(job: &Job, outcome: JobOutcome) -> Vec<(i64, u64)> {
        job.refunds(outcome).iter().map(|c| (Window::Day.bucket(c.at), c.tokens.get())).collect()
    }

    #[test]
    fn refunds_are_floored_and_come_from_the_newest_bucket() {
        let job = job(&[(1, 4), (1, 6), (2, 3)]);
        assert_eq!(refunds(&job, JobOutcome::Failed), [(2, 3), (1, 3)], "floor(13 / 2) = 6");
        assert_eq!(refunds(&job, JobOutcome::Cancelled), [(2, 3), (1, 10)]);
        assert_eq!(refunds(&job, JobOutcome::Completed), []);
        assert_eq!(refunds(&job, JobOutcome::Released), []);
    }

    #[test]
    fn a_stopped_job_refunds_nothing() {
        let job = Job { stopped: true, ..job(&[(1, 10)]) };
        for outcome in [JobOutcome::Failed, JobOutcome::Cancelled] {
            assert_eq!(refunds(&job, outcome), []);
        }
    }

    #[test]
    fn a_cost_is_priced_as_soon_as_a_part_of_it_is() {
        let line = |price: Option<Price>, reported: Option<u32>, cost: u32| Line {
            model: None,
            price,
            limits: vec![],
            high: Figures { cost_micros: reported.map(Amount::from), ..Figures::default() },
            cost: cost.into(),
        };
        let price = Some(Price::flat(1u32.into(), Amount::ZERO));
        let (priced, reported, neither) =
            (line(price, None, 7), line(price, Some(9), 9), line(None, None, 0));
        let of = |lines: &[&Line]| {
            let job = Job { lines: lines.iter().map(|line| (*line).clone()).collect(), ..job(&[]) };
            (job.cost().get(), job.cost_source())
        };
        assert_eq!(of(&[&neither]), (0, None));
        assert_eq!(of(&[&line(None, Some(0), 0)]), (0, Some(CostBasis::Reported)), "nothing, as reported");
        assert_eq!(of(&[&neither, &reported]), (9, Some(CostBasis::Reported)));
        assert_eq!(of(&[&reported, &priced]), (16, Some(CostBasis::Priced)));
        assert_eq!(of(&[&priced, &reported]), (16, Some(CostBasis::Priced)));
    }

    #[test]
    fn a_reported_cost_replaces_the_computed_one_and_never_shrinks() {
        let price = Price::flat(1_000_000u32.into(), Amount::ZERO);
        let mut line = Line {
            model: None,
            price: Some(price),
            limits: vec![],
            high: Figures::default(),
            cost: Amount::ZERO,
        };
        let figures = |tokens: u32, cost: Option<u32>| Figures {
            tokens_in: tokens.into(),
            cost_micros: cost.map(Amount::from),
            ..Figures::default()
        };
        assert_eq!(
            line.grow(figures(10, None), Amount::ONE),
            Growth { tokens: 10u32.into(), cost: 10u32.into(), ..Growth::default() }
        );
        assert_eq!(line.grow(figures(10, None), Amount::ONE), Growth::default(), "replayed");
        assert_eq!(line.cost_source(), Some(CostBasis::Priced));
        assert_eq!(line.grow(figures(20, Some(5)), Amount::ONE).cost, Amount::ZERO, "below what was charged");
        assert_eq!(line.cost_source(), Some(CostBasis::Priced), "what was charged at the price stands");
        assert_eq!(line.grow(figures(20, Some(25)), Amount::ONE).cost, 15u32.into());
        assert_eq!(line.cost_source(), Some(CostBasis::Reported));
        assert_eq!(line.grow(figures(5, None), Amount::ONE), Growth::default(), "reordered");
    }

    #[test]
    fn requests_grow_above_what_was_counted_at_the_start() {
        let mut line =
            Line { model: None, price: None, limits: vec![], high: Figures::default(), cost: Amount::ZERO };
        let said =
            |requests: Option<u32>| Figures { requests: requests.map(Amount::from), ..Figures::default() };
        for (requests, first, more) in
            [(None, 0, 0), (Some(1), 0, 1), (Some(4), 3, 3), (Some(2), 0, 0), (Some(5), 1, 1)]
        {
            let mut other = line.clone();
            assert_eq!(other.grow(said(requests), Amount::ZERO).requests.get(), more, "{requests:?}");
            assert_eq!(line.grow(said(requests), Amount::ONE).requests.get(), first, "{requests:?}");
        }
    }
}
