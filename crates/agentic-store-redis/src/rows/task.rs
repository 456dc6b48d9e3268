//! Tasks.

use agentic_core::{
    clock::Timestamp,
    error::Result,
    id::TaskId,
    lane::{Lane, Park},
    machine::{TaskRow, pending_reason},
    task::{NewTask, Priority, Task, TaskStatus},
};

use crate::{
    error::unreadable,
    lanes::park,
    reply::{Cells, Reply, misshapen, named},
};

/// The cells of a new task, but for what its script decides: names and values in turn.
pub(crate) fn new_cells(new: &NewTask, now: Timestamp) -> Result<Vec<String>> {
    let task = new.clone().into_task(now);
    let at = now.millis().to_string();
    let mut cells = Vec::with_capacity(32);
    let mut cell = |name: &str, value: String| cells.extend([name.to_owned(), value]);
    cell("title", task.title.clone());
    cell("description", task.description.clone());
    cell("rank", task.priority.rank().to_string());
    cell("lane", task.lane().to_string());
    cell("created_at", at.clone());
    cell("updated_at", at);
    cell("attempt", "0".to_owned());
    cell("max_retries", task.max_retries.to_string());
    cell("retry_count", "0".to_owned());
    cell("progress", "0".to_owned());
    cell("estimated_tokens", task.estimated_tokens.to_string());
    if !task.files.is_empty() {
        cell("files", serde_json::to_string(&task.files).map_err(unreadable)?);
    }
    if let Some(project) = &task.project {
        cell("project", project.to_string());
    }
    if let Some(at) = task.not_before {
        cell("not_before", at.millis().to_string());
    }
    Ok(cells)
}

/// A task from its cells; texts that were not read are empty.
pub(crate) fn task_row(cells: &Cells) -> Result<TaskRow> {
    let Lane { labels, model, project } = cells.must("lane")?;
    let listed = |name: &str| cells.text(name).unwrap_or_default().split(',').filter(|part| !part.is_empty());
    let rank: usize = cells.must("rank")?;
    let priority = Priority::ALL.get(rank).copied().ok_or_else(|| misshapen("a priority is unknown"))?;
    let task = Task {
        id: cells.must("id")?,
        title: cells.string("title").unwrap_or_default(),
        description: cells.string("description").unwrap_or_default(),
        priority,
        status: cells.must("status")?,
        labels,
        files: cells.json("files")?.unwrap_or_default(),
        project,
        model,
        dependencies: listed("dependencies").map(str::parse).collect::<Result<_>>()?,
        blockers: Vec::new(),
        blocked_by: listed("blocked_by").map(named).collect::<Result<_>>()?,
        created_at: Timestamp::from_millis(cells.must("created_at")?),
        updated_at: Timestamp::from_millis(cells.must("updated_at")?),
        not_before: cells.time("not_before")?,
        retry_at: cells.time("retry_at")?,
        claimed_by: cells.parse("claimed_by")?,
        claimed_at: cells.time("claimed_at")?,
        lease_expires_at: cells.time("lease_expires_at")?,
        attempt: cells.must("attempt")?,
        max_retries: cells.must("max_retries")?,
        retry_count: cells.must("retry_count")?,
        last_attempt: cells.time("last_attempt")?,
        fail_reason: cells.string("fail_reason"),
        last_error: cells.string("last_error"),
        progress: cells.parse("progress")?.unwrap_or_default(),
        notes: cells.string("notes"),
        result: cells.json("result")?,
        estimated_tokens: cells.parse("estimated_tokens")?.unwrap_or_default(),
        idempotency_key: cells.string("idempotency_key"),
        pending_reason: None,
    };
    Ok(TaskRow {
        task,
        open_dependencies: cells.must("open")?,
        lapsed: cells.has("lapsed"),
        ready: cells.has("ready"),
        deferred: cells.json("deferred")?,
        request_digest: cells.string("digest").unwrap_or_default(),
    })
}

/// A task as it is read, from the view that `scripts/lib/tasks.lua` makes.
pub(crate) fn view(mut reply: Reply, now: Timestamp) -> Result<Task> {
    let row = task_row(&reply.cells()?)?;
    let blockers =
        reply.list()?.into_texts()?.iter().map(|id| id.parse()).collect::<Result<Vec<TaskId>>>()?;
    let mut open: Vec<(TaskId, TaskStatus)> = Vec::new();
    let mut waits = reply.list()?;
    while !waits.is_empty() {
        open.push((waits.parse()?, waits.parse()?));
    }
    let park: Option<Park> = reply.maybe()?.map(|text| park(&text)).transpose()?;
    let pending_reason = pending_reason(&row, now, &open, park.as_ref());
    Ok(Task { blockers, pending_reason, ..row.task })
}
