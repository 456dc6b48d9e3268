//! `agentic edit`, `cancel` and `requeue`.

use agentic_core::{
    api::{PatchTask, TaskMessage},
    id::TaskId,
    task::TaskStatus,
};

use crate::{
    args::{CancelArgs, EditArgs},
    failure::Failure,
    session::Session,
};

/// Changes a task that waits.
pub(crate) async fn edit(session: &Session, args: EditArgs) -> Result<(), Failure> {
    let patch = match (args.block, args.unblock) {
        (Some(reason), _) => {
            PatchTask { status: Some(TaskStatus::Blocked), notes: Some(reason), ..PatchTask::default() }
        }
        (None, true) => PatchTask { status: Some(TaskStatus::Pending), ..PatchTask::default() },
        (None, false) => PatchTask {
            priority: args.priority,
            labels: (args.no_labels || !args.label.is_empty()).then(|| args.label.into_iter().collect()),
            model: args.model,
            not_before: args.not_before.map(|when| when.at(session.now())),
            description: args.description,
            ..PatchTask::default()
        },
    };
    let task = session.client()?.patch_task(&args.task, &patch).await?;
    let message = format!("{} is {}", task.id, task.status);
    told(session, &TaskMessage { task, message })
}

/// Calls a task off.
pub(crate) async fn cancel(session: &Session, args: CancelArgs) -> Result<(), Failure> {
    told(session, &session.client()?.cancel_task(&args.task, args.reason).await?)
}

/// Puts a failed or cancelled task back.
pub(crate) async fn requeue(session: &Session, id: &TaskId) -> Result<(), Failure> {
    told(session, &session.client()?.requeue_task(id).await?)
}

fn told(session: &Session, answer: &TaskMessage) -> Result<(), Failure> {
    if session.printer.is_json {
        session.printer.json(&answer.task)
    } else {
        session.printer.line(&answer.message)
    }
}
