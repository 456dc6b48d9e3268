//! Tasks as they are stored.

use agentic_core::{
    error::Result,
    id::TaskId,
    lane::Lane,
    machine::TaskRow,
    task::{BlockCause, PendingReason, Priority, Task, TaskResult},
};
use serde::{Deserialize, Serialize};

use crate::{
    error::unreadable,
    sql::{Cells, Columns, Sql, Table, column},
};

/// Reads tasks `t` with their texts `x`; the rest of the statement says which.
macro_rules! select_task {
    ($rest:literal) => {
        concat!(
            "SELECT t.seq, t.id, t.status, t.priority, t.lane, t.created_at, t.updated_at, t.ready, t.lapsed,
                t.open_dependencies, t.blocked_by, t.not_before, t.retry_at, t.claimed_by, t.claimed_at,
                t.lease_expires_at, t.attempt, t.max_retries, t.retry_count, t.last_attempt, t.progress,
                t.estimated_tokens, x.title, x.description, x.files, x.dependencies, x.idempotency_key,
                x.request_digest, x.fail_reason, x.last_error, x.notes, x.result, x.deferred ",
            $rest
        )
    };
}
pub(crate) use select_task;

pub(crate) const TASK: &str =
    select_task!("FROM tasks t CROSS JOIN task_texts x ON x.seq = t.seq WHERE t.id = ?1");

static TASKS: Table = Table::new(
    "tasks (seq, id, status, priority, lane, project, created_at, updated_at, ready, ready_at, lapsed,
        open_dependencies, blocked_by, not_before, retry_at, claimed_by, claimed_at, lease_expires_at, attempt,
        max_retries, retry_count, last_attempt, progress, estimated_tokens)",
    24,
    "ON CONFLICT (seq) DO UPDATE SET status = excluded.status, priority = excluded.priority,
        lane = excluded.lane, updated_at = excluded.updated_at, ready = excluded.ready,
        ready_at = excluded.ready_at, lapsed = excluded.lapsed, open_dependencies = excluded.open_dependencies,
        blocked_by = excluded.blocked_by, not_before = excluded.not_before, retry_at = excluded.retry_at,
        claimed_by = excluded.claimed_by, claimed_at = excluded.claimed_at,
        lease_expires_at = excluded.lease_expires_at, attempt = excluded.attempt,
        retry_count = excluded.retry_count, last_attempt = excluded.last_attempt, progress = excluded.progress",
);

static TEXTS: Table = Table::new(
    "task_texts (seq, title, description, files, dependencies, idempotency_key, request_digest, fail_reason,
        last_error, notes, result, deferred)",
    12,
    "ON CONFLICT (seq) DO UPDATE SET description = excluded.description, fail_reason = excluded.fail_reason,
        last_error = excluded.last_error, notes = excluded.notes, result = excluded.result,
        deferred = excluded.deferred",
);

static DEPENDENCIES: Table = Table::new("dependencies (dependency, task_id)", 2, "");

/// A task with its place in the table.
#[derive(Debug, Clone)]
pub(crate) struct StoredTask {
    pub(crate) seq: i64,
    pub(crate) row: TaskRow,
}

/// A result as it is stored.
#[derive(Debug, Serialize, Deserialize)]
struct ResultRecord {
    success: bool,
    output: String,
    artifacts: Vec<String>,
    error: Option<String>,
}

/// Why a task was deferred, as it is stored.
#[derive(Debug, Serialize, Deserialize)]
struct ReasonRecord {
    code: String,
    detail: String,
    retry_at: Option<i64>,
}

impl StoredTask {
    /// Reads the columns of [`select_task`].
    pub(crate) fn read(columns: &mut Columns<'_>) -> Result<Self> {
        let seq = columns.get()?;
        let id = columns.parse()?;
        let status = columns.named()?;
        let rank: usize = columns.unsigned()?.try_into().map_err(unreadable)?;
        let priority = Priority::ALL.get(rank).copied().unwrap_or_default();
        let Lane { labels, model, project } = columns.parse()?;
        let (created_at, updated_at) = (columns.at()?, columns.at()?);
        let (ready, lapsed, open_dependencies) = (columns.get()?, columns.get()?, columns.get()?);
        let blocked_by = read_causes(columns.get()?);
        let (not_before, retry_at) = (columns.at_opt()?, columns.at_opt()?);
        let (claimed_by, claimed_at) = (columns.parse_opt()?, columns.at_opt()?);
        let lease_expires_at = columns.at_opt()?;
        let (attempt, max_retries, retry_count) = (columns.get()?, columns.get()?, columns.get()?);
        let last_attempt = columns.at_opt()?;
        let progress = columns.get()?;
        let estimated_tokens = columns.amount()?;
        let (title, description) = (columns.get()?, columns.get()?);
        let files = columns.json_opt()?.unwrap_or_default();
        let dependencies = columns.json_opt()?.unwrap_or_default();
        let (idempotency_key, request_digest) = (columns.get()?, columns.get()?);
        let (fail_reason, last_error, notes) = (columns.get()?, columns.get()?, columns.get()?);
        let result = columns.json_opt::<ResultRecord>()?.map(|record| TaskResult {
            success: record.success,
            output: record.output,
            artifacts: record.artifacts,
            error_message: record.error,
        });
        let deferred = columns.json_opt::<ReasonRecord>()?.map(|record| PendingReason {
            code: record.code,
            detail: record.detail,
            retry_at: record.retry_at.map(agentic_core::clock::Timestamp::from_millis),
        });
        let task = Task {
            id,
            title,
            description,
            priority,
            status,
            labels,
            files,
            project,
            model,
            dependencies,
            blockers: Vec::new(),
            blocked_by,
            created_at,
            updated_at,
            not_before,
            retry_at,
            claimed_by,
            claimed_at,
            lease_expires_at,
            attempt,
            max_retries,
            retry_count,
            last_attempt,
            fail_reason,
            last_error,
            progress,
            notes,
            result,
            estimated_tokens,
            idempotency_key,
            pending_reason: None,
        };
        Ok(Self { seq, row: TaskRow { task, open_dependencies, lapsed, ready, deferred, request_digest } })
    }
}

/// A task to be written, and what stands there now.
#[derive(Debug)]
pub(crate) struct Change<'a> {
    pub(crate) seq: i64,
    pub(crate) before: Option<&'a TaskRow>,
    pub(crate) after: &'a TaskRow,
}

/// Writes tasks: new ones with their dependencies, and texts only where they changed.
pub(crate) fn write(sql: Sql<'_>, changes: &[Change<'_>]) -> Result<()> {
    let (mut tasks, mut texts, mut dependencies) = (Cells::default(), Cells::default(), Cells::default());
    for change in changes {
        put(&mut tasks, change.seq, change.after);
        if change.before.is_none_or(|before| texts_differ(before, change.after)) {
            put_texts(&mut texts, change.seq, change.after)?;
        }
        if change.before.is_none() {
            let task = &change.after.task;
            for dependency in &task.dependencies {
                dependencies.text(dependency.as_str()).text(task.id.as_str());
            }
        }
    }
    sql.write(&TASKS, &tasks)?;
    sql.write(&TEXTS, &texts)?;
    sql.write(&DEPENDENCIES, &dependencies)
}

fn put<'a>(cells: &mut Cells<'a>, seq: i64, row: &'a TaskRow) {
    let task = &row.task;
    cells
        .int(seq)
        .text(task.id.as_str())
        .text(task.status.as_str())
        .int(task.priority.rank())
        .owned(task.lane().to_string())
        .text_opt(task.project.as_ref())
        .at(task.created_at)
        .at(task.updated_at)
        .int(row.ready)
        .at(task.ready_at())
        .int(row.lapsed)
        .int(row.open_dependencies)
        .int(causes(row))
        .at_opt(task.not_before)
        .at_opt(task.retry_at)
        .text_opt(task.claimed_by.as_ref())
        .at_opt(task.claimed_at)
        .at_opt(task.lease_expires_at)
        .int(task.attempt)
        .int(task.max_retries)
        .int(task.retry_count)
        .at_opt(task.last_attempt)
        .int(task.progress)
        .amount(task.estimated_tokens);
}

fn put_texts<'a>(cells: &mut Cells<'a>, seq: i64, row: &'a TaskRow) -> Result<()> {
    let task = &row.task;
    let result = task.result.clone().map(|result| ResultRecord {
        success: result.success,
        output: result.output,
        artifacts: result.artifacts,
        error: result.error_message,
    });
    let deferred = row.deferred.clone().map(|reason| ReasonRecord {
        code: reason.code,
        detail: reason.detail,
        retry_at: reason.retry_at.map(agentic_core::clock::Timestamp::millis),
    });
    cells
        .int(seq)
        .text(&task.title)
        .text(&task.description)
        .json_opt(some_of(&task.files))?
        .json_opt(some_of(&task.dependencies))?
        .text_opt(task.idempotency_key.as_ref())
        .text(&row.request_digest)
        .text_opt(task.fail_reason.as_ref())
        .text_opt(task.last_error.as_ref())
        .text_opt(task.notes.as_ref())
        .json_opt(result.as_ref())?
        .json_opt(deferred.as_ref())?;
    Ok(())
}

/// Whether anything that stands among the texts, and can change, did.
fn texts_differ(a: &TaskRow, b: &TaskRow) -> bool {
    let texts = |row: &TaskRow| {
        let Task { fail_reason, last_error, notes, .. } = &row.task;
        (fail_reason.clone(), last_error.clone(), notes.clone())
    };
    a.task.description != b.task.description
        || a.task.result != b.task.result
        || a.deferred != b.deferred
        || texts(a) != texts(b)
}

/// A list, unless it is empty.
fn some_of<T>(list: &Vec<T>) -> Option<&Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn causes(row: &TaskRow) -> i64 {
    row.task.blocked_by.iter().map(|cause| bit(*cause)).sum()
}

fn read_causes(bits: i64) -> std::collections::BTreeSet<BlockCause> {
    [BlockCause::Dependency, BlockCause::Manual].into_iter().filter(|cause| bits & bit(*cause) != 0).collect()
}

const fn bit(cause: BlockCause) -> i64 {
    match cause {
        BlockCause::Dependency => 1,
        BlockCause::Manual => 2,
    }
}

pub(crate) const BY_KEY: &str =
    "SELECT t.id FROM task_texts x CROSS JOIN tasks t ON t.seq = x.seq WHERE x.idempotency_key = ?1";
pub(crate) const DEPENDENTS: &str = "SELECT task_id FROM dependencies WHERE dependency = ?1 ORDER BY task_id";
pub(crate) const DUE: &str = "SELECT id FROM tasks WHERE status = 'pending' AND ready = 0 AND ready_at <= ?1
    ORDER BY ready_at, id LIMIT ?2";
pub(crate) const LAST_SEQ: &str = "SELECT coalesce(max(seq), 0) FROM tasks";

/// The ids that a query answers with.
pub(crate) fn ids(sql: Sql<'_>, query: &str, params: impl rusqlite::Params) -> Result<Vec<TaskId>> {
    sql.all(query, params, column::parse)
}
