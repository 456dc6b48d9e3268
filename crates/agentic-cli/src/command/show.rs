//! `agentic show`.

use agentic_client::{Client, log_line};
use agentic_core::{
    error::Error,
    event::Event,
    id::TaskId,
    task::{Page, Task},
};
use serde::Serialize;

use crate::{
    failure::Failure,
    output::{Printer, list_or_dash},
    session::Session,
};

/// The most pages of a history that are shown; `logs` has no end.
const MAX_PAGES: usize = 10;

/// A task with what happened to it.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    task: &'a Task,
    history: &'a [Event],
}

/// Shows a task and what happened to it.
pub(crate) async fn show(session: &Session, id: &TaskId) -> Result<(), Failure> {
    let client = session.client()?;
    let task = client.get_task(id).await?;
    let history = history(&client, id).await?;
    if session.printer.is_json {
        return session.printer.json(&Shown { task: &task, history: &history });
    }
    fields(session.printer, &task)?;
    if !task.description.is_empty() {
        session.printer.raw("\nDescription:")?;
        session.printer.text(&indented(&task.description))?;
    }
    if let Some(output) =
        task.result.as_ref().map(|result| &result.output).filter(|output| !output.is_empty())
    {
        session.printer.raw("\nOutput:")?;
        session.printer.text(&indented(output))?;
    }
    session.printer.raw("\nHistory:")?;
    for event in &history {
        session.printer.line(&format!("  {}", log_line(event)))?;
    }
    Ok(())
}

async fn history(client: &Client, id: &TaskId) -> Result<Vec<Event>, Error> {
    let mut events: Vec<Event> = Vec::new();
    for _ in 0..MAX_PAGES {
        let after = events.last().map_or(0, |event| event.id);
        let page = client.history(id, after, Page::MAX_LIMIT).await?;
        let is_last = page.len() < Page::MAX_LIMIT;
        events.extend(page);
        if is_last {
            break;
        }
    }
    Ok(events)
}

fn fields(printer: Printer, task: &Task) -> Result<(), Failure> {
    let field = |name: &str, value: String| {
        if value.is_empty() || value == "-" { Ok(()) } else { printer.line(&format!("{name:<12} {value}")) }
    };
    let text = |value: Option<String>| value.unwrap_or_default();
    field("id", task.id.to_string())?;
    field("title", task.title.clone())?;
    field("status", task.status.to_string())?;
    if let Some(reason) = &task.pending_reason {
        let until = reason.retry_at.map_or_else(String::new, |at| format!(" (until {at})"));
        field("waits", format!("{}: {}{until}", reason.code, reason.detail))?;
    }
    field("fail reason", text(task.fail_reason.clone()))?;
    field("last error", text(task.last_error.clone()))?;
    field("priority", task.priority.to_string())?;
    field("labels", list_or_dash(&task.labels))?;
    field("model", text(task.model.as_ref().map(ToString::to_string)))?;
    field("project", text(task.project.as_ref().map(ToString::to_string)))?;
    field("files", list_or_dash(&task.files))?;
    field("depends on", list_or_dash(&task.dependencies))?;
    field("blocks", list_or_dash(&task.blockers))?;
    field("created", task.created_at.to_string())?;
    field("updated", task.updated_at.to_string())?;
    field("not before", text(task.not_before.map(|at| at.to_string())))?;
    field("agent", text(task.claimed_by.as_ref().map(ToString::to_string)))?;
    field("lease until", text(task.lease_expires_at.map(|at| at.to_string())))?;
    field("attempt", task.attempt.to_string())?;
    field("retries", format!("{} of {}", task.retry_count, task.max_retries))?;
    field("progress", format!("{} %", task.progress))?;
    field("notes", text(task.notes.clone()))?;
    if let Some(result) = &task.result {
        field("artifacts", list_or_dash(&result.artifacts))?;
    }
    Ok(())
}

fn indented(text: &str) -> String {
    text.lines().flat_map(|line| ["  ", line, "\n"]).collect()
}
