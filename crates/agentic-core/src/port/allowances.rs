//! The port of allowances: limits, meters and reservations.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    allowance::{AgentAllowance, ModelQuota, Price, UsageAnswer},
    budget::Budget,
    clock::Timestamp,
    error::Result,
    id::{AgentId, JobId, ModelName, ProjectName},
    job::{Entry, Job, JobOutcome, Move},
    limit::{Limit, MeterKey, Reading, Scope},
    usage::Figures,
};

/// Asks for a job's place under every limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Admission {
    /// The attempt.
    pub job: JobId,
    /// The admission's own id, chosen by the caller and never reused: what [`VoidJob`] names.
    pub id: String,
    /// Who runs it.
    pub agent_id: AgentId,
    /// The model; absent where neither task nor agent names one.
    pub model: Option<ModelName>,
    /// Whose budget.
    pub project: Option<ProjectName>,
    /// When the job's task was created: what tells it from one that had its id before. Absent where nobody says.
    #[serde(default)]
    pub task_created_at: Option<Timestamp>,
    /// The model's price, pinned for the job's life.
    pub price: Option<Price>,
    /// What to count under, in the order in which refusals are told.
    pub limits: Vec<Limit>,
    /// Tokens to reserve.
    pub ask: crate::amount::Amount,
    /// Until when the reservation holds, unless extended.
    pub expires_at: Timestamp,
    /// When.
    pub now: Timestamp,
}

/// Turns a reservation into a started job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StartJob {
    /// Which.
    pub job: JobId,
    /// When.
    pub now: Timestamp,
}

/// Lets a reservation hold longer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Extend {
    /// Which.
    pub job: JobId,
    /// Until when.
    pub expires_at: Timestamp,
    /// When.
    pub now: Timestamp,
}

/// Holds a running job against other limits than those that it was admitted under: they changed meanwhile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Replan {
    /// Which.
    pub job: JobId,
    /// What its admitted model counts under from now on.
    pub limits: Vec<Limit>,
    /// When.
    pub now: Timestamp,
}

/// Charges what a job used so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Which job.
    pub job: JobId,
    /// Who reports.
    pub agent_id: AgentId,
    /// The model that was used; `None` = the job's.
    pub model: Option<ModelName>,
    /// Cumulative figures of that model.
    pub figures: Figures,
    /// What to count under where the job was not admitted for this model; else its pinned limits hold.
    pub limits: Vec<Limit>,
    /// The model's price, likewise.
    pub price: Option<Price>,
    /// Why the job must stop, whatever its limits say: what it used has no cost that anybody knows. It is told once in the
    /// log; absent = its limits decide.
    #[serde(default)]
    pub stop: Option<String>,
    /// A job that was never admitted is open until then, and ended by a sweep after it; it holds nothing.
    pub expires_at: Timestamp,
    /// When.
    pub now: Timestamp,
}

/// Ends a job: charge, refund and release, exactly once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settle {
    /// Which.
    pub job: JobId,
    /// How it ended; a job that never started is voided instead.
    pub outcome: JobOutcome,
    /// When.
    pub now: Timestamp,
}

/// Takes an admission back whose claim was lost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VoidJob {
    /// Which job.
    pub job: JobId,
    /// Which admission of it; another one's is left alone.
    pub admission: String,
    /// When.
    pub now: Timestamp,
}

/// Asks for the reservations that have run out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExpiredJobs {
    /// At most so many.
    pub limit: usize,
    /// When.
    pub now: Timestamp,
}

/// Sets an agent's day to zero.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResetUsage {
    /// Whose.
    pub agent_id: AgentId,
    /// When.
    pub now: Timestamp,
}

/// Asks for an agent's entries in the ledger, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReadEntries {
    /// Whose.
    pub agent_id: AgentId,
    /// Where to go on: [`EntryPage::next`] of the page before; `None` = at the newest.
    pub cursor: Option<String>,
    /// At most so many.
    pub limit: usize,
}

/// A part of an agent's ledger.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct EntryPage {
    /// Newest first.
    pub entries: Vec<Entry>,
    /// The cursor of the next page, in the store's own words; absent on the last one.
    pub next: Option<String>,
    /// On the last page, what the entries moved that were folded and that still counts: before the oldest one, the meters of
    /// the agent stood there. Ascending by meter and bucket.
    pub opening: Vec<Move>,
}

/// Sets a budget.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SetBudget {
    /// The budget; its version is given by the store.
    pub budget: Budget,
    /// The version that it must have until now, 0 where there must be none; `None` = whatever stands there.
    pub seen: Option<u64>,
    /// When.
    pub now: Timestamp,
}

/// A meter that is not the sum of its entries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// Which meter.
    pub key: MeterKey,
    /// In which bucket.
    pub bucket: i64,
    /// What it stands at.
    pub meter: i64,
    /// What the entries sum up to.
    pub entries: i64,
}

/// Limits, meters and reservations.
///
/// The store counts and decides nothing: what is counted, and how far it may go, comes with each call as
/// [`Limit`]s. A reservation ends at its expiry by itself; no sweep is needed for correctness.
#[async_trait]
pub trait AllowanceStore: fmt::Debug + Send + Sync + 'static {
    /// Reads an agent's allowance; `None` when none was set.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn allowance(&self, agent: &AgentId) -> Result<Option<AgentAllowance>>;

    /// Sets an agent's allowance.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn set_allowance(&self, allowance: AgentAllowance, now: Timestamp) -> Result<()>;

    /// Removes an agent's allowance.
    ///
    /// # Errors
    /// `NotFound`.
    async fn delete_allowance(&self, agent: &AgentId, now: Timestamp) -> Result<()>;

    /// Reads all allowances, ascending by agent.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn allowances(&self) -> Result<Vec<AgentAllowance>>;

    /// Reads a model's quota; `None` when none was set.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn model_quota(&self, model: &ModelName) -> Result<Option<ModelQuota>>;

    /// Sets a model's quota.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn set_model_quota(&self, quota: ModelQuota, now: Timestamp) -> Result<()>;

    /// Removes a model's quota.
    ///
    /// # Errors
    /// `NotFound`.
    async fn delete_model_quota(&self, model: &ModelName, now: Timestamp) -> Result<()>;

    /// Reads all quotas, ascending by model.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn model_quotas(&self) -> Result<Vec<ModelQuota>>;

    /// Reads all budgets, ascending by scope as text.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn budgets(&self) -> Result<Vec<Budget>>;

    /// Sets a budget, if it is still the one that the caller has seen; answers with it under its new version.
    ///
    /// # Atomicity
    /// The comparison and the change are one step (`a_budget_is_changed_by_who_has_seen_it`), so that of several who
    /// begin the same window one does.
    ///
    /// # Errors
    /// `Invalid`; `Conflict` `stale_version`.
    async fn set_budget(&self, set: SetBudget) -> Result<Budget>;

    /// Removes a budget.
    ///
    /// # Errors
    /// `NotFound`.
    async fn delete_budget(&self, scope: &Scope, now: Timestamp) -> Result<()>;

    /// A number that grows with every change of an allowance, a quota or a budget, so that readers can keep theirs.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn limits_revision(&self) -> Result<u64>;

    /// Reads meters at `now`, in the order asked for.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn readings(&self, keys: &[MeterKey], now: Timestamp) -> Result<Vec<Reading>>;

    /// Counts the live reservations of agents at `now`, in the order asked for.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn active_jobs(&self, agents: &[AgentId], now: Timestamp) -> Result<Vec<u32>>;

    /// Reads a job; `None` when it was never admitted nor reported.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn job(&self, job: &JobId) -> Result<Option<Job>>;

    /// Finds room under every limit and takes the job's place, or changes nothing.
    ///
    /// # Atomicity
    /// One step: `used + reserved + need ≤ cap` under all limits at once (`admission_never_passes_a_cap`).
    ///
    /// # Idempotency
    /// By the admission's id.
    ///
    /// # Errors
    /// `Refused` by the first limit without room, with its figures; `Conflict` `already_admitted` while another
    /// admission of the job holds, or after it started; not after the job of an earlier task with that id
    /// (`a_job_of_an_earlier_task_keeps_nobody_out`).
    async fn admit(&self, admission: Admission) -> Result<Job>;

    /// Turns the place into one used job and one used request. Idempotent.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` `lease_lost` for a reservation that ended without having started.
    async fn start(&self, start: StartJob) -> Result<Job>;

    /// Lets a reservation hold longer; one that has run out retakes its place if there is room.
    ///
    /// # Errors
    /// `NotFound`; `Refused` when the place was given away; `Conflict` `lease_lost` when it was settled.
    async fn extend(&self, extend: Extend) -> Result<Job>;

    /// Holds an open job against other limits from now on; what it used so far stays where it was counted. One that is
    /// over keeps what it has.
    ///
    /// # Errors
    /// `NotFound`.
    async fn replan(&self, replan: Replan) -> Result<Job>;

    /// Charges the growth since the highest report, whatever the state of the job: usage is a fact.
    ///
    /// # Idempotency
    /// Figures are cumulative: replay and reorder charge nothing twice (`reports_are_cumulative`).
    ///
    /// # Errors
    /// `Unavailable`.
    async fn report(&self, report: Report) -> Result<UsageAnswer>;

    /// Ends a job, once: gives back what its outcome gives back, and releases its place. Later ones change nothing.
    ///
    /// # Errors
    /// `NotFound`.
    async fn settle(&self, settle: Settle) -> Result<Job>;

    /// Takes an admission back that did not start. Idempotent; another admission is left alone.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn void(&self, void: VoidJob) -> Result<()>;

    /// Reads the open jobs whose reservation has run out, longest ago first.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn expired(&self, expired: ExpiredJobs) -> Result<Vec<Job>>;

    /// Sets an agent's daily meters to zero by balancing entries.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn reset_usage(&self, reset: ResetUsage) -> Result<()>;

    /// Reads a page of an agent's entries, newest first (`a_ledger_is_read_newest_first`); pages follow each other without a
    /// gap (`a_ledger_is_paged`), and what was folded shows as an opening balance (`what_was_folded_is_an_opening_balance`).
    ///
    /// # Errors
    /// `Invalid` for a cursor that is none of its own.
    async fn entries(&self, read: ReadEntries) -> Result<EntryPage>;

    /// Recomputes every meter from the entries; answers with what differs.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn verify(&self) -> Result<Vec<Difference>>;
}
