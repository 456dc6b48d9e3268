//! The port of allowances.

use agentic_core::{
    allowance::{AgentAllowance, ModelQuota, UsageAnswer},
    budget::Budget,
    clock::Timestamp,
    engine::{Rows, agents, ledger},
    error::{Error, Result},
    id::{AgentId, JobId, ModelName},
    job::{Job, Move},
    limit::{MeterKey, Reading, Scope},
    port::{
        Admission, AllowanceStore, Difference, EntryPage, ExpiredJobs, Extend, ReadEntries, Replan, Report,
        ResetUsage, SetBudget, Settle, StartJob, VoidJob,
    },
};
use async_trait::async_trait;

use crate::{
    error::unreadable,
    rows::{SqliteRows, job, limits, log, meter},
    sql::{column, count},
    store::SqliteStore,
};

/// The live reservations of each agent of a list, in its order.
pub(crate) const ACTIVE: &str = "SELECT (
        SELECT count(*) FROM jobs
        WHERE state IN ('reserved', 'started') AND unadmitted = 0 AND agent_id = a.value AND expires_at > ?2)
    FROM json_each(?1) a ORDER BY a.key";

/// Recomputes every meter from the opening balance and the entries, on one snapshot, without holding them all.
fn verify(rows: &SqliteRows<'_>) -> Result<Vec<Difference>> {
    let mut sums = meter::read_sums(rows.sql, meter::OPENING_BALANCE, [])?;
    log::each_move(rows.sql, |Move { key, bucket, delta }| {
        let sum = sums.entry((key, bucket)).or_default();
        *sum = sum.saturating_add(delta);
    })?;
    Ok(ledger::differences(&meter::read_sums(rows.sql, meter::ALL_METERS, [])?, &sums))
}

/// A page of an agent's entries on one snapshot, with the opening balance after the last one.
fn entries(rows: &SqliteRows<'_>, read: &ReadEntries) -> Result<EntryPage> {
    let before = match &read.cursor {
        Some(cursor) => cursor.parse().map_err(|_| Error::invalid("cursor", "must be one of this ledger"))?,
        None => i64::MAX,
    };
    let params = (read.agent_id.as_str(), before, count(read.limit.saturating_add(1)));
    let mut page = rows.sql.all(log::ENTRIES_OF, params, log::read_entry)?;
    let more = page.len() > read.limit;
    page.truncate(read.limit);
    let next = page.last().filter(|_| more).map(|(number, _)| number.to_string());
    // A space follows the agent where a model does, and is less than whatever an id may hold.
    let scope = Scope::Agent(read.agent_id.clone()).to_string();
    let opening = match next {
        Some(_) => meter::Sums::new(),
        None => meter::read_sums(rows.sql, meter::OPENING_OF, (&scope, format!("{scope}!")))?,
    };
    let opening = opening.into_iter().map(|((key, bucket), delta)| Move { key, bucket, delta }).collect();
    Ok(EntryPage { entries: page.into_iter().map(|(_, entry)| entry).collect(), next, opening })
}

#[async_trait]
impl AllowanceStore for SqliteStore {
    async fn allowance(&self, agent: &AgentId) -> Result<Option<AgentAllowance>> {
        let agent = agent.clone();
        self.read(move |rows| rows.allowance(&agent)).await
    }

    async fn set_allowance(&self, allowance: AgentAllowance, now: Timestamp) -> Result<()> {
        self.write(move |rows| agents::set_allowance(rows, allowance.clone(), now)).await
    }

    async fn delete_allowance(&self, agent: &AgentId, now: Timestamp) -> Result<()> {
        let agent = agent.clone();
        self.write(move |rows| agents::delete_allowance(rows, &agent, now)).await
    }

    async fn allowances(&self) -> Result<Vec<AgentAllowance>> {
        self.read(|rows| rows.sql.all(limits::ALLOWANCES, [], limits::read_allowance)).await
    }

    async fn model_quota(&self, model: &ModelName) -> Result<Option<ModelQuota>> {
        let model = model.clone();
        self.read(move |rows| rows.quota(&model)).await
    }

    async fn set_model_quota(&self, quota: ModelQuota, now: Timestamp) -> Result<()> {
        self.write(move |rows| agents::set_model_quota(rows, quota.clone(), now)).await
    }

    async fn delete_model_quota(&self, model: &ModelName, now: Timestamp) -> Result<()> {
        let model = model.clone();
        self.write(move |rows| agents::delete_model_quota(rows, &model, now)).await
    }

    async fn model_quotas(&self) -> Result<Vec<ModelQuota>> {
        self.read(|rows| rows.sql.all(limits::QUOTAS, [], limits::read_quota)).await
    }

    async fn budgets(&self) -> Result<Vec<Budget>> {
        self.read(|rows| rows.sql.all(limits::BUDGETS, [], limits::read_budget)).await
    }

    async fn set_budget(&self, set: SetBudget) -> Result<Budget> {
        self.write(move |rows| agents::set_budget(rows, &set)).await
    }

    async fn delete_budget(&self, scope: &Scope, now: Timestamp) -> Result<()> {
        let scope = scope.clone();
        self.write(move |rows| agents::delete_budget(rows, &scope, now)).await
    }

    async fn limits_revision(&self) -> Result<u64> {
        self.read(|rows| rows.counter("limits")).await
    }

    async fn readings(&self, keys: &[MeterKey], now: Timestamp) -> Result<Vec<Reading>> {
        let keys = keys.to_vec();
        self.read(move |rows| keys.iter().map(|key| ledger::reading(rows, key, now)).collect()).await
    }

    async fn active_jobs(&self, agents: &[AgentId], now: Timestamp) -> Result<Vec<u32>> {
        let agents = serde_json::to_string(agents).map_err(unreadable)?;
        self.read(move |rows| rows.sql.all(ACTIVE, (&agents, now.millis()), column::get)).await
    }

    async fn job(&self, job: &JobId) -> Result<Option<Job>> {
        let job = job.clone();
        self.read(move |rows| rows.job(&job)).await
    }

    async fn admit(&self, admission: Admission) -> Result<Job> {
        self.write(move |rows| ledger::admit(rows, &admission)).await
    }

    async fn start(&self, start: StartJob) -> Result<Job> {
        self.write(move |rows| ledger::start_job(rows, &start)).await
    }

    async fn extend(&self, extend: Extend) -> Result<Job> {
        self.write(move |rows| ledger::extend(rows, &extend)).await
    }

    async fn replan(&self, replan: Replan) -> Result<Job> {
        self.write(move |rows| ledger::replan(rows, &replan)).await
    }

    async fn report(&self, report: Report) -> Result<UsageAnswer> {
        self.write(move |rows| ledger::report(rows, &report)).await
    }

    async fn settle(&self, settle: Settle) -> Result<Job> {
        self.write(move |rows| ledger::settle(rows, &settle)).await
    }

    async fn void(&self, void: VoidJob) -> Result<()> {
        self.write(move |rows| ledger::void(rows, &void)).await
    }

    async fn expired(&self, expired: ExpiredJobs) -> Result<Vec<Job>> {
        let params = (expired.now.millis(), count(expired.limit));
        self.read(move |rows| rows.sql.all(job::EXPIRED_JOBS, params, job::read)).await
    }

    async fn reset_usage(&self, reset: ResetUsage) -> Result<()> {
        self.write(move |rows| ledger::reset_usage(rows, &reset)).await
    }

    async fn entries(&self, read: ReadEntries) -> Result<EntryPage> {
        self.read(move |rows| entries(rows, &read)).await
    }

    async fn verify(&self) -> Result<Vec<Difference>> {
        self.read(|rows| verify(rows)).await
    }
}
