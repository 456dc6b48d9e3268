//! Tasks as they are stored.

use agentic_core::{
    error::Result,
    id::TaskId,
    lane::Lane,
    machine::TaskRow,
    task::{BlockCause, PendingReason, Priority, Task, TaskResult, TaskStatus},
};
use serde::{Deserialize, Serialize};

use crate::{
    error::unreadable,
    sql::{Cells, Columns, Lookup, Sql, Table, column},
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

pub(crate) static TASKS_OF: Lookup = Lookup::new(
    select_task!("FROM k CROSS JOIN tasks t ON t.id = k.column1 CROSS JOIN task_texts x ON x.seq = t.seq"),
    1,
);

static TASKS: Table = Table::new(
    "tasks (id, status, priority, lane, project, created_at, updated_at, ready, ready_at, lapsed,
        open_dependencies, blocked_by, not_before, retry_at, claimed_by, claimed_at, lease_expires_at, attempt,
        max_retries, retry_count, last_attempt, progress, estimated_tokens, seq)",
    24,
    "",
);

/// What moves with an attempt of the same holder. The parameters of all three are the columns of [`TASKS`]; a column
/// that is not set costs no index its page.
pub(crate) const MOVE_TASK: &str = "UPDATE OR ROLLBACK tasks SET status = ?2, updated_at = ?7, ready = ?8,
    ready_at = ?9, lapsed = ?10, open_dependencies = ?11, blocked_by = ?12, retry_at = ?14, claimed_at = ?16,
    lease_expires_at = ?17, attempt = ?18, retry_count = ?20, last_attempt = ?21, progress = ?22 WHERE seq = ?24";
/// What a sign of life changes.
pub(crate) const RENEW_TASK: &str = "UPDATE OR ROLLBACK tasks SET updated_at = ?7, lease_expires_at = ?17,
    progress = ?22 WHERE seq = ?24";
/// Everything that ever changes.
pub(crate) const UPDATE_TASK: &str = "UPDATE OR ROLLBACK tasks SET status = ?2, priority = ?3, lane = ?4,
    updated_at = ?7, ready = ?8, ready_at = ?9, lapsed = ?10, open_dependencies = ?11, blocked_by = ?12,
    not_before = ?13, retry_at = ?14, claimed_by = ?15, claimed_at = ?16, lease_expires_at = ?17, attempt = ?18,
    retry_count = ?20, last_attempt = ?21, progress = ?22 WHERE seq = ?24";

static TEXTS: Table = Table::new(
    "task_texts (seq, title, description, files, dependencies, idempotency_key, request_digest, fail_reason,
        last_error, notes, result, deferred)",
    12,
    "",
);

/// Its parameters are the columns of [`TEXTS`].
pub(crate) const UPDATE_TEXTS: &str = "UPDATE OR ROLLBACK task_texts SET description = ?3, fail_reason = ?8,
    last_error = ?9, notes = ?10, result = ?11, deferred = ?12 WHERE seq = ?1";

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

/// Writes tasks over what stands there: new ones with their dependencies, and texts only where they changed.
pub(crate) fn write<'a>(
    sql: Sql<'_>,
    changes: impl Iterator<Item = (Option<&'a StoredTask>, &'a StoredTask)>,
) -> Result<()> {
    let (mut tasks, mut texts, mut dependencies) = (Cells::default(), Cells::default(), Cells::default());
    let mut cells = Cells::with_room(TASKS.columns());
    for (before, StoredTask { seq, row }) in changes {
        let Some(before) = before else {
            put(&mut tasks, *seq, row);
            put_texts(&mut texts, *seq, row)?;
            for dependency in &row.task.dependencies {
                dependencies.text(dependency.as_str()).text(row.task.id.as_str());
            }
            continue;
        };
        cells.clear();
        put(&mut cells, *seq, row);
        sql.execute(update_of(&before.row, row), cells.params())?;
        if texts_differ(&before.row, row) {
            cells.clear();
            put_texts(&mut cells, *seq, row)?;
            sql.execute(UPDATE_TEXTS, cells.params())?;
        }
    }
    sql.insert(&TASKS, &tasks)?;
    sql.insert(&TEXTS, &texts)?;
    sql.insert(&DEPENDENCIES, &dependencies)
}

/// The statement that sets what differs, and little else.
fn update_of(before: &TaskRow, after: &TaskRow) -> &'static str {
    let (was, is) = (&before.task, &after.task);
    let edited = || {
        (was.priority, was.not_before) != (is.priority, is.not_before)
            || (&was.labels, &was.model, &was.project) != (&is.labels, &is.model, &is.project)
    };
    let renewed = || {
        let Task { updated_at, lease_expires_at, progress, .. } = *is;
        let task = Task { updated_at, lease_expires_at, progress, notes: is.notes.clone(), ..was.clone() };
        *after == TaskRow { task, ..before.clone() }
    };
    if was.status == TaskStatus::InProgress && is.status == TaskStatus::InProgress && renewed() {
        RENEW_TASK
    } else if was.claimed_by == is.claimed_by && !edited() {
        MOVE_TASK
    } else {
        UPDATE_TASK
    }
}

fn put<'a>(cells: &mut Cells<'a>, seq: i64, row: &'a TaskRow) {
    let task = &row.task;
    cells
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
        .amount(task.estimated_tokens)
        .int(seq);
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
    let short =
        |row: &TaskRow| row.deferred.is_none() && row.task.notes.is_none() && row.task.result.is_none();
    let same_short = short(a) && short(b)
        || (&a.deferred, &a.task.notes, &a.task.result) == (&b.deferred, &b.task.notes, &b.task.result);
    !same_short
        || (&a.task.fail_reason, &a.task.last_error) != (&b.task.fail_reason, &b.task.last_error)
        || a.task.description != b.task.description
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
pub(crate) const DUE: &str = "SELECT id FROM tasks INDEXED BY tasks_due
    WHERE status = 'pending' AND ready = 0 AND ready_at <= ?1 ORDER BY ready_at, id LIMIT ?2";
pub(crate) const DEFERRED: &str = "SELECT t.id FROM task_texts x CROSS JOIN tasks t ON t.seq = x.seq
    WHERE x.deferred IS NOT NULL ORDER BY x.seq LIMIT ?1";
pub(crate) const LAST_SEQ: &str = "SELECT coalesce(max(seq), 0) FROM tasks";

/// The ids that a query answers with.
pub(crate) fn ids(sql: Sql<'_>, query: &str, params: impl rusqlite::Params) -> Result<Vec<TaskId>> {
    sql.all(query, params, column::parse)
}
