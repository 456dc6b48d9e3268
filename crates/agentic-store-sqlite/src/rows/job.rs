//! Jobs as they are stored.

use agentic_core::{
    allowance::Price,
    amount::Amount,
    clock::Timestamp,
    error::Result,
    id::{JobId, ModelName},
    job::{Charge, Job, JobOutcome, Line},
    limit::{Limit, Meter, Scope, Window},
    usage::Figures,
};
use serde::{Deserialize, Serialize};

use crate::{
    error::unreadable,
    sql::{Cells, Columns, Lookup, Sql, Table, column, count},
};

/// Reads jobs `j`; the rest of the statement says which.
macro_rules! select_job {
    ($rest:literal) => {
        concat!(
            "SELECT j.task_id, j.attempt, j.admission, j.agent_id, j.project, j.state, j.outcome, j.ask,
                j.admitted_at, j.expires_at, j.started_at, j.ended_at, j.stopped, j.unadmitted, j.late, j.task_created_at, j.terms, j.usage ",
            $rest
        )
    };
}

pub(crate) const JOB: &str = select_job!("FROM jobs j WHERE j.task_id = ?1 AND j.attempt = ?2");
pub(crate) const EXPIRED_JOBS: &str = select_job!(
    "FROM jobs j WHERE j.state IN ('reserved', 'started') AND j.expires_at <= ?1
        ORDER BY j.expires_at, j.task_id, j.attempt LIMIT ?2"
);

pub(crate) static JOBS_OF: Lookup = Lookup::new(
    select_job!("FROM k CROSS JOIN jobs j ON j.task_id = k.column1 AND j.attempt = k.column2"),
    2,
);

static JOBS: Table = Table::new(
    "jobs (task_id, attempt, state, outcome, tokens, expires_at, started_at, ended_at, stopped, unadmitted, late, usage,
        admission, agent_id, model, project, ask, admitted_at, task_created_at, terms)",
    20,
    "",
);

/// Its parameters are the first columns of [`JOBS`]; the others, but for the terms, change only where a job is admitted anew.
pub(crate) const UPDATE_JOB: &str = "UPDATE OR ROLLBACK jobs SET state = ?3, outcome = ?4, tokens = ?5,
    expires_at = ?6, started_at = ?7, ended_at = ?8, stopped = ?9, unadmitted = ?10, late = ?11, usage = ?12
    WHERE task_id = ?1 AND attempt = ?2";
/// What its lines are held against.
pub(crate) const UPDATE_TERMS: &str =
    "UPDATE OR ROLLBACK jobs SET terms = ?3 WHERE task_id = ?1 AND attempt = ?2";
pub(crate) const DELETE_JOB: &str = "DELETE FROM jobs WHERE task_id = ?1 AND attempt = ?2";

/// Ended jobs that may have no task here.
pub(crate) const ENDED_JOBS: &str = "SELECT rowid FROM jobs WHERE kept = 0 AND ended_at < ?1
    ORDER BY ended_at, task_id, attempt LIMIT ?2";
pub(crate) const KEEP_JOBS: &str = "UPDATE jobs SET kept = 1 WHERE rowid IN (
    SELECT j.rowid FROM json_each(?1) CROSS JOIN jobs j ON j.rowid = value
        CROSS JOIN tasks t ON t.id = j.task_id WHERE j.attempt BETWEEN 1 AND t.attempt)";
pub(crate) const DELETE_JOBS: &str = "DELETE FROM jobs
    WHERE rowid IN (SELECT value FROM json_each(?1)) AND kept = 0";
/// Of tasks that go.
pub(crate) const DELETE_JOBS_OF: &str = "DELETE FROM jobs WHERE rowid IN (
    SELECT j.rowid FROM json_each(?1) CROSS JOIN tasks t ON t.id = value CROSS JOIN jobs j ON j.task_id = t.id
        WHERE j.attempt BETWEEN 1 AND t.attempt AND j.ended_at IS NOT NULL)";

/// Deletes the jobs that ended before `before` and have no task here, and looks at `limit` at most; one that has a task goes
/// with that, and is not looked at again. Answers at how many it looked.
pub(crate) fn forget(sql: Sql<'_>, before: Timestamp, limit: usize) -> Result<usize> {
    let ended: Vec<i64> = sql.all(ENDED_JOBS, (before.millis(), count(limit)), column::get)?;
    if !ended.is_empty() {
        let list = serde_json::to_string(&ended).map_err(unreadable)?;
        sql.execute(KEEP_JOBS, [&list])?;
        sql.execute(DELETE_JOBS, [&list])?;
    }
    Ok(ended.len())
}

/// What is pinned of one model.
#[derive(Debug, Serialize, Deserialize)]
struct TermsRecord {
    model: Option<ModelName>,
    /// Picodollars a token in and a token out; then one read from a cache, written to it, and of reasoning, unless all
    /// three are absent.
    price: Option<Vec<Option<Amount>>>,
    limits: Vec<(Scope, Meter, Window, Option<Amount>)>,
}

/// What was used: of each model, in the order of the terms.
#[derive(Debug, Default, Serialize, Deserialize)]
struct UsageRecord {
    lines: Vec<LineRecord>,
    /// Line, milliseconds since 1970, tokens.
    charges: Vec<(usize, i64, Amount)>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct LineRecord {
    tokens_in: Amount,
    tokens_out: Amount,
    #[serde(default, skip_serializing_if = "Amount::is_zero_ref")]
    cache_read: Amount,
    #[serde(default, skip_serializing_if = "Amount::is_zero_ref")]
    cache_write: Amount,
    #[serde(default, skip_serializing_if = "Amount::is_zero_ref")]
    reasoning: Amount,
    cost_micros: Option<Amount>,
    requests: Option<Amount>,
    charged_micros: Amount,
}

/// Reads the columns of `select_job`.
pub(crate) fn read(columns: &mut Columns<'_>) -> Result<Job> {
    let id = JobId::new(columns.parse()?, columns.get()?);
    let (admission, agent_id, project) = (columns.get()?, columns.parse()?, columns.parse_opt()?);
    let (state, outcome) = (columns.named()?, columns.named_opt::<JobOutcome>()?);
    let ask = columns.amount()?;
    let (admitted_at, expires_at) = (columns.at()?, columns.at()?);
    let (started_at, ended_at) = (columns.at_opt()?, columns.at_opt()?);
    let (stopped, unadmitted, late) = (columns.get()?, columns.get()?, columns.get()?);
    let task_created_at = columns.at_opt()?;
    let terms: Vec<TermsRecord> = columns.json()?;
    let usage: UsageRecord = columns.json_opt()?.unwrap_or_default();
    let mut used = usage.lines.into_iter();
    let lines = terms.into_iter().map(|terms| line(terms, used.next().unwrap_or_default())).collect();
    let charge = |(line, at, tokens)| Charge { line, at: Timestamp::from_millis(at), tokens };
    Ok(Job {
        id,
        admission,
        agent_id,
        project,
        task_created_at,
        ask,
        admitted_at,
        expires_at,
        started_at,
        ended_at,
        state,
        outcome,
        lines,
        charges: usage.charges.into_iter().map(charge).collect(),
        stopped,
        unadmitted,
        late,
    })
}

fn line(terms: TermsRecord, used: LineRecord) -> Line {
    let limit = |(scope, meter, window, cap)| Limit::new(scope, meter, window, cap);
    Line {
        model: terms.model,
        price: terms.price.and_then(|parts| price(&parts)),
        limits: terms.limits.into_iter().map(limit).collect(),
        high: Figures {
            tokens_in: used.tokens_in,
            tokens_out: used.tokens_out,
            cache_read: used.cache_read,
            cache_write: used.cache_write,
            reasoning: used.reasoning,
            cost_micros: used.cost_micros,
            requests: used.requests,
        },
        cost: used.charged_micros,
    }
}

/// A price from its parts.
fn price(parts: &[Option<Amount>]) -> Option<Price> {
    let part = |at: usize| parts.get(at).copied().flatten();
    let flat = Price::flat(part(0)?, part(1)?);
    Some(Price { cache_read: part(2), cache_write: part(3), reasoning: part(4), ..flat })
}

fn price_parts(price: Price) -> Vec<Option<Amount>> {
    let mut parts = vec![Some(price.input), Some(price.output)];
    if price != Price::flat(price.input, price.output) {
        parts.extend([price.cache_read, price.cache_write, price.reasoning]);
    }
    parts
}

/// Writes jobs over what stands there.
pub(crate) fn write<'a>(
    sql: Sql<'_>,
    changes: impl Iterator<Item = (Option<&'a Job>, &'a Job)>,
) -> Result<()> {
    let mut fresh = Cells::default();
    let mut cells = Cells::with_room(JOBS.columns());
    for (before, job) in changes {
        if let Some(before) = before {
            let same = before.admission == job.admission && before.admitted_at == job.admitted_at;
            let pinned = |line: &'a Line| (&line.model, line.price, &line.limits);
            if same {
                cells.clear();
                put_standing(&mut cells, job)?;
                sql.execute(UPDATE_JOB, cells.params())?;
                if !before.lines.iter().map(pinned).eq(job.lines.iter().map(pinned)) {
                    cells.clear();
                    cells.text(job.id.task.as_str()).int(job.id.attempt).json(&terms(job))?;
                    sql.execute(UPDATE_TERMS, cells.params())?;
                }
                continue;
            }
            sql.execute(DELETE_JOB, (job.id.task.as_str(), job.id.attempt))?;
        }
        put_standing(&mut fresh, job)?;
        put_terms(&mut fresh, job)?;
    }
    sql.insert(&JOBS, &fresh)
}

/// What changes while a job lives.
fn put_standing<'a>(cells: &mut Cells<'a>, job: &'a Job) -> Result<()> {
    cells
        .text(job.id.task.as_str())
        .int(job.id.attempt)
        .text(job.state.as_str())
        .name_opt(job.outcome.map(outcome_name))
        .amount(job.held().tokens)
        .at(job.expires_at)
        .at_opt(job.started_at)
        .at_opt(job.ended_at)
        .int(job.stopped)
        .int(job.unadmitted)
        .int(job.late)
        .json_opt(usage(job).as_ref())?;
    Ok(())
}

/// What its admission fixed.
fn put_terms<'a>(cells: &mut Cells<'a>, job: &'a Job) -> Result<()> {
    cells
        .text(&job.admission)
        .text(job.agent_id.as_str())
        .text_opt(job.model())
        .text_opt(job.project.as_ref())
        .amount(job.ask)
        .at(job.admitted_at)
        .at_opt(job.task_created_at)
        .json(&terms(job))?;
    Ok(())
}

fn terms(job: &Job) -> Vec<TermsRecord> {
    let pinned = |line: &Line| TermsRecord {
        model: line.model.clone(),
        price: line.price.map(price_parts),
        limits: line
            .limits
            .iter()
            .map(|limit| (limit.key.scope.clone(), limit.key.meter, limit.key.window, limit.cap))
            .collect(),
    };
    job.lines.iter().map(pinned).collect()
}

/// What was used, if anything was.
fn usage(job: &Job) -> Option<UsageRecord> {
    let used = |line: &Line| LineRecord {
        tokens_in: line.high.tokens_in,
        tokens_out: line.high.tokens_out,
        cache_read: line.high.cache_read,
        cache_write: line.high.cache_write,
        reasoning: line.high.reasoning,
        cost_micros: line.high.cost_micros,
        requests: line.high.requests,
        charged_micros: line.cost,
    };
    let any = job.lines.iter().any(|line| line.high != Figures::default() || !line.cost.is_zero());
    (any || !job.charges.is_empty()).then(|| UsageRecord {
        lines: job.lines.iter().map(used).collect(),
        charges: job.charges.iter().map(|charge| (charge.line, charge.at.millis(), charge.tokens)).collect(),
    })
}

const fn outcome_name(outcome: JobOutcome) -> &'static str {
    match outcome {
        JobOutcome::Completed => "completed",
        JobOutcome::Failed => "failed",
        JobOutcome::Cancelled => "cancelled",
        JobOutcome::Released => "released",
    }
}
