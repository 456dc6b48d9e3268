//! `agentic logs`.

use agentic_client::log_line;
use agentic_core::id::TaskId;
use futures_util::TryStreamExt;

use crate::{failure::Failure, session::Session};

/// Prints each change of a task once, as it comes, until the task is over.
pub(crate) async fn logs(session: &Session, task: &TaskId) -> Result<(), Failure> {
    let client = session.client()?;
    let mut events = client.follow(task);
    while let Some(event) = events.try_next().await? {
        if session.printer.is_json {
            session.printer.json_line(&event)?;
        } else {
            session.printer.line(&log_line(&event))?;
        }
    }
    let task = client.get_task(task).await?;
    session.printer.note(&format!("{} is {}", task.id, task.status));
    Ok(())
}
