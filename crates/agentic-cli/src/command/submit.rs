//! `agentic submit`.

use agentic_core::{api::CreateTask, task::Task};

use super::{batch, explain};
use crate::{args::SubmitArgs, failure::Failure, session::Session};

/// How many agents a dry run of one task tells one by one.
const AGENTS: usize = 20;

/// Submits one task, or a file of them; prints their ids.
pub(crate) async fn submit(session: &Session, args: SubmitArgs) -> Result<(), Failure> {
    if let Some(path) = &args.from {
        return batch::submit(session, path, &args).await;
    }
    if args.dry_run {
        return rehearse(session, one(session, args)).await;
    }
    let task = session.client()?.create_task(&one(session, args)).await?;
    if session.printer.is_json {
        return session.printer.json(&task);
    }
    session.printer.line(task.id.as_str())?;
    session.printer.note(&told(&task));
    Ok(())
}

/// Says what would become of a task.
async fn rehearse(session: &Session, task: CreateTask) -> Result<(), Failure> {
    let answers = session.client()?.dry_run(&[task], AGENTS).await?;
    let Some(answer) = answers.first() else { return Err(Failure::failed("the server told nothing")) };
    if session.printer.is_json {
        return session.printer.json(answer);
    }
    if answer.because.first().is_none_or(|reason| reason.code != "exists") {
        session.printer.line(&format!("would be {}; nothing was created", answer.task.status))?;
    }
    explain::told(session.printer, answer)
}

fn told(task: &Task) -> String {
    format!("submitted as {}; follow it with `agentic logs {}`", task.status, task.id)
}

fn one(session: &Session, args: SubmitArgs) -> CreateTask {
    CreateTask {
        id: args.id.map(|id| id.to_string()).unwrap_or_default(),
        description: args.description.unwrap_or_default(),
        priority: args.priority,
        labels: args.label.into_iter().collect(),
        files: args.file,
        project: args.project.or_else(|| session.loaded.settings.default_project.clone()),
        model: args.model,
        dependencies: args.depends_on,
        not_before: args.not_before.map(|when| when.at(session.now())),
        max_retries: args.max_retries,
        estimated_tokens: args.estimated_tokens.unwrap_or_default(),
        idempotency_key: args.idempotency_key,
        ..CreateTask::new(args.title.unwrap_or_default())
    }
}
