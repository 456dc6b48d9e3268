//! The port of tasks.

use std::collections::BTreeMap;

use agentic_core::{
    attempt::Attempt,
    clock::Timestamp,
    engine::{Rows, tasks},
    error::{Error, Kind, Result},
    event::{Event, EventId},
    id::{AgentId, JobId, TaskId},
    lane::{Head, Lane},
    machine::{TaskRow, pending_reason},
    port::{
        Block, CancelTask, Claim, CreateMany, Created, Defer, Edit, EndAttempt, Finished, Lanes, ParkLane,
        Progress, Renew, StartAttempt, TaskStore, Unpark,
    },
    task::{Page, Task, TaskFilter, TaskStatus},
};
use async_trait::async_trait;

use crate::{
    lanes,
    rows::{
        SqliteRows, job, log,
        task::{StoredTask, select_task},
    },
    sql::{Cells, Sql, column, count},
    store::SqliteStore,
};

pub(crate) const COUNTS: &str = "SELECT status, count(*) FROM tasks GROUP BY status";
pub(crate) const STATUS: &str = "SELECT status FROM tasks WHERE id = ?1";
pub(crate) const ASSIGNED: &str = select_task!(
    "FROM attempts a CROSS JOIN tasks t ON t.id = a.task_id CROSS JOIN task_texts x ON x.seq = t.seq
        WHERE a.agent_id = ?1 AND a.incarnation = ?2 AND a.started_at IS NULL AND a.ended_at IS NULL
            AND t.attempt = a.attempt
        ORDER BY a.claimed_at, a.task_id LIMIT ?3"
);
pub(crate) const EXPIRED: &str = select_task!(
    "FROM tasks t CROSS JOIN task_texts x ON x.seq = t.seq
        WHERE t.lease_expires_at IS NOT NULL AND t.lease_expires_at <= ?1
        ORDER BY t.lease_expires_at, t.id LIMIT ?2"
);
pub(crate) const NEXT_DUE: &str = "SELECT ready_at FROM tasks INDEXED BY tasks_due
    WHERE status = 'pending' AND ready = 0 ORDER BY ready_at LIMIT 1";
/// The oldest tasks that ended so, but for those that an open task depends on. None changes before it is created, so
/// that the walk ends at those created too late.
macro_rules! ended {
    ($status:literal) => {
        concat!(
            "SELECT * FROM (SELECT t.id, t.created_at FROM tasks t
                WHERE t.status = '",
            $status,
            "' AND t.created_at < ?1 AND t.updated_at < ?1 AND NOT EXISTS (
                    SELECT 1 FROM dependencies d CROSS JOIN tasks w ON w.id = d.task_id
                    WHERE d.dependency = t.id AND w.status NOT IN ('completed', 'failed', 'cancelled'))
                ORDER BY t.created_at, t.id LIMIT ?2)"
        )
    };
}
pub(crate) const PRUNABLE: &str = concat!(
    "SELECT id FROM (",
    ended!("completed"),
    " UNION ALL ",
    ended!("failed"),
    " UNION ALL ",
    ended!("cancelled"),
    ") ORDER BY created_at, id LIMIT ?2"
);
pub(crate) const FORGET_EVENTS: &str =
    "UPDATE events SET pruned = 1 WHERE task_id IN (SELECT value FROM json_each(?1)) AND pruned = 0";
pub(crate) const DELETE_TASKS: &str = "DELETE FROM tasks WHERE id IN (SELECT value FROM json_each(?1))";

/// The statement for a page of the tasks that match, and what to bind to it.
pub(crate) fn page_of<'a>(filter: &'a TaskFilter, page: &'a Page) -> (String, Cells<'a>) {
    let mut sql =
        select_task!("FROM tasks t CROSS JOIN task_texts x ON x.seq = t.seq WHERE t.seq > 0").to_owned();
    let mut cells = Cells::default();
    if let Some(status) = filter.status {
        sql.push_str(" AND t.status = ?");
        cells.text(status.as_str());
    }
    if let Some(priority) = filter.priority {
        sql.push_str(" AND +t.priority = ?");
        cells.int(priority.rank());
    }
    if let Some(project) = &filter.project {
        sql.push_str(" AND t.project = ?");
        cells.text(project.as_str());
    }
    if let Some(agent) = &filter.claimed_by {
        sql.push_str(" AND t.claimed_by = ?");
        cells.text(agent.as_str());
    }
    for label in &filter.labels {
        // No label has a comma or a bar in it, so that this finds whole labels only.
        sql.push_str(" AND instr(',' || substr(t.lane, 1, instr(t.lane, '|') - 1) || ',', ?) > 0");
        cells.owned(format!(",{label},"));
    }
    if let Some(cursor) = &page.cursor {
        sql.push_str(" AND (t.created_at, t.id) > (?, ?)");
        cells.at(cursor.created_at).text(cursor.id.as_str());
    }
    sql.push_str(" ORDER BY t.created_at, t.id LIMIT ?");
    cells.int(count(page.limit));
    (sql, cells)
}

/// A task as it is read: with what waits for it, and why it waits itself.
fn view(rows: &mut SqliteRows<'_>, row: TaskRow, now: Timestamp) -> Result<Task> {
    let park = match row.task.status {
        TaskStatus::Pending => rows.park(&row.task.lane())?,
        _ => None,
    };
    let mut open = Vec::new();
    if row.task.status == TaskStatus::Blocked {
        for id in &row.task.dependencies {
            let status = rows.sql.one(STATUS, [id.as_str()], column::named)?;
            open.extend(status.filter(|s| *s != TaskStatus::Completed).map(|status| (id.clone(), status)));
        }
    }
    let pending_reason = pending_reason(&row, now, &open, park.as_ref());
    let blockers = rows.dependents(&row.task.id)?;
    Ok(Task { blockers, pending_reason, ..row.task })
}

/// The tasks that a query answers with, as the engine knows them.
fn stored(sql: Sql<'_>, query: &str, params: impl rusqlite::Params) -> Result<Vec<TaskRow>> {
    sql.all(query, params, |columns| Ok(StoredTask::read(columns)?.row))
}

fn existing(rows: &mut SqliteRows<'_>, id: &TaskId) -> Result<TaskRow> {
    rows.task(id)?.ok_or_else(|| Error::not_found(Kind::Task, id))
}

#[async_trait]
impl TaskStore for SqliteStore {
    async fn create_many(&self, create: CreateMany) -> Result<Vec<Created>> {
        self.write(move |rows| tasks::create_many(rows, &create)).await
    }

    async fn get(&self, id: &TaskId, now: Timestamp) -> Result<Task> {
        let id = id.clone();
        self.read(move |rows| {
            let row = existing(rows, &id)?;
            view(rows, row, now)
        })
        .await
    }

    async fn list(&self, filter: &TaskFilter, page: &Page, now: Timestamp) -> Result<Vec<Task>> {
        let (filter, page) = (filter.clone(), page.clone());
        self.read(move |rows| {
            let (sql, cells) = page_of(&filter, &page);
            let found = stored(rows.sql, &sql, cells.params())?;
            found.into_iter().map(|row| view(rows, row, now)).collect()
        })
        .await
    }

    async fn counts(&self) -> Result<BTreeMap<TaskStatus, u64>> {
        self.read(|rows| {
            let counts = rows.sql.all(COUNTS, [], |columns| Ok((columns.named()?, columns.unsigned()?)))?;
            Ok(counts.into_iter().collect())
        })
        .await
    }

    async fn attempt(&self, job: &JobId) -> Result<Option<Attempt>> {
        let job = job.clone();
        self.read(move |rows| rows.attempt(&job)).await
    }

    async fn assigned(&self, agent: &AgentId, incarnation: u64, limit: usize) -> Result<Vec<Task>> {
        let agent = agent.clone();
        self.read(move |rows| {
            let mut cells = Cells::default();
            cells.text(agent.as_str()).int_cut(incarnation).int(count(limit));
            let found = stored(rows.sql, ASSIGNED, cells.params())?;
            Ok(found.into_iter().map(|row| row.task).collect())
        })
        .await
    }

    async fn lanes(&self, limit: usize) -> Result<Lanes> {
        self.read(move |rows| lanes::read(rows, limit)).await
    }

    async fn ready(&self, lane: &Lane, limit: usize) -> Result<Vec<Head>> {
        let lane = lane.clone();
        self.read(move |rows| lanes::ready(rows.sql, &lane, limit)).await
    }

    async fn promote_due(&self, now: Timestamp, limit: usize) -> Result<usize> {
        self.write(move |rows| tasks::promote_due(rows, now, limit)).await
    }

    async fn next_due(&self) -> Result<Option<Timestamp>> {
        self.read(|rows| rows.sql.one(NEXT_DUE, [], column::at)).await
    }

    async fn park(&self, park: ParkLane) -> Result<()> {
        self.write(move |rows| tasks::park(rows, &park)).await
    }

    async fn unpark(&self, unpark: Unpark) -> Result<usize> {
        self.write(move |rows| tasks::unpark(rows, &unpark)).await
    }

    async fn claim(&self, claim: Claim) -> Result<Task> {
        self.write(move |rows| tasks::claim(rows, &claim)).await
    }

    async fn start(&self, start: StartAttempt) -> Result<Task> {
        self.write(move |rows| Ok(tasks::start(rows, &start)?.0)).await
    }

    async fn renew(&self, renew: Renew) -> Result<Task> {
        self.write(move |rows| tasks::renew(rows, &renew)).await
    }

    async fn progress(&self, progress: Progress) -> Result<Task> {
        self.write(move |rows| tasks::progress(rows, &progress)).await
    }

    async fn end_attempt(&self, end: EndAttempt) -> Result<Finished> {
        self.write(move |rows| tasks::end_attempt(rows, &end)).await
    }

    async fn edit(&self, edit: Edit) -> Result<Task> {
        self.write(move |rows| tasks::edit(rows, &edit)).await
    }

    async fn defer(&self, defer: Defer) -> Result<Task> {
        self.write(move |rows| tasks::defer(rows, &defer)).await
    }

    async fn block(&self, block: Block) -> Result<Task> {
        self.write(move |rows| tasks::block(rows, &block)).await
    }

    async fn cancel(&self, cancel: CancelTask) -> Result<Task> {
        self.write(move |rows| tasks::cancel(rows, &cancel)).await
    }

    async fn requeue(&self, id: &TaskId, now: Timestamp) -> Result<Task> {
        let id = id.clone();
        self.write(move |rows| tasks::requeue(rows, &id, now)).await
    }

    async fn expired(&self, now: Timestamp, limit: usize) -> Result<Vec<(Task, Attempt)>> {
        self.read(move |rows| {
            let mut expired = Vec::new();
            for row in stored(rows.sql, EXPIRED, (now.millis(), count(limit)))? {
                let attempt = rows.attempt(&JobId::new(row.task.id.clone(), row.task.attempt))?;
                expired.extend(attempt.map(|attempt| (row.task, attempt)));
            }
            Ok(expired)
        })
        .await
    }

    async fn history(&self, id: &TaskId, after: EventId, limit: usize) -> Result<Vec<Event>> {
        let id = id.clone();
        self.read(move |rows| {
            existing(rows, &id)?;
            let mut cells = Cells::default();
            cells.text(id.as_str()).int_cut(after).int(count(limit));
            rows.sql.all(log::HISTORY, cells.params(), log::read_event)
        })
        .await
    }

    async fn prune(&self, before: Timestamp, limit: usize, _: Timestamp) -> Result<usize> {
        self.write(move |rows| {
            rows.forget()?;
            let ids: Vec<String> = rows.sql.all(PRUNABLE, (before.millis(), count(limit)), column::get)?;
            if !ids.is_empty() {
                rows.wrote();
                let list = serde_json::to_string(&ids).map_err(crate::error::unreadable)?;
                rows.sql.execute(FORGET_EVENTS, [&list])?;
                rows.sql.execute(job::DELETE_JOBS_OF, [&list])?;
                rows.sql.execute(DELETE_TASKS, [&list])?;
            }
            Ok(ids.len())
        })
        .await
    }
}
