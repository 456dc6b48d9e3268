//! `/api/tasks`.

use agentic_core::{
    api::{CancelBody, ClaimTask, CompleteTask, CreateTask, PatchTask, ReleaseTask, TaskMessage},
    error::{Error, Result},
    event::{Event, EventId},
    explain::Explanation,
    id::{Label, TaskId},
    task::{Page, Task, TaskCursor, TaskFilter, TaskStatus},
};
use agentic_dispatch::{Caller, LeastLoaded};
use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};

use crate::{
    app::App,
    extract::{self, Body, Id, MaybeBody, Params},
    page::{self, Listing},
    problem::Failure,
};

pub(crate) async fn list(State(app): State<App>, mut params: Params) -> Result<Listing<Task>, Failure> {
    let labels: Option<String> = params.take("labels")?;
    let labels = labels.iter().flat_map(|labels| labels.split(',')).filter(|label| !label.is_empty());
    let filter = TaskFilter {
        status: params.take("status")?,
        labels: labels.map(str::parse::<Label>).collect::<Result<_>>()?,
        priority: params.take("priority")?,
        project: params.take("project")?,
        claimed_by: params.take("claimed_by")?,
    };
    let page = Page { limit: page::limit(&mut params)?, cursor: params.take("cursor")? };
    params.end()?;
    let tasks = app.tasks().list(&filter, &page).await?;
    let mut next = None;
    if let Some(last) = tasks.last().filter(|_| tasks.len() == page.limit) {
        let cursor = TaskCursor { created_at: last.created_at, id: last.id.clone() };
        let url = params.url_with("cursor", &cursor.to_string());
        let beyond = Page { limit: 1, cursor: Some(cursor) };
        next = (!app.tasks().list(&filter, &beyond).await?.is_empty()).then_some(url);
    }
    Ok(Listing::new(tasks, next))
}

pub(crate) async fn create(
    State(app): State<App>,
    headers: HeaderMap,
    mut params: Params,
    body: extract::Json,
) -> Result<Response, Failure> {
    let dry_run = params.take("dry_run")?.unwrap_or(false);
    if dry_run {
        let shown = page::agents(&mut params)?;
        params.end()?;
        return rehearse(&app, idempotency_key(&headers)?, &body, shown).await;
    }
    params.end()?;
    let key = idempotency_key(&headers)?;
    if body.is_array() {
        let created = app.tasks().create(body.read()?, key).await?;
        let tasks: Vec<Task> = created.into_iter().map(|created| created.task).collect();
        return Ok((StatusCode::CREATED, Json(tasks)).into_response());
    }
    let created = app.tasks().create(vec![body.read::<CreateTask>()?], key).await?;
    let task = created.into_iter().next().ok_or_else(|| Error::backend("the creation of one task"))?.task;
    let location = [(header::LOCATION, format!("/api/tasks/{}", task.id))];
    Ok((StatusCode::CREATED, location, Json(task)).into_response())
}

/// What creating would answer, and who would take it.
async fn rehearse(
    app: &App,
    key: Option<&str>,
    body: &extract::Json,
    shown: usize,
) -> Result<Response, Failure> {
    if body.is_array() {
        return Ok(Json(app.tasks().dry_run(body.read()?, key, &LeastLoaded, shown).await?).into_response());
    }
    let answers = app.tasks().dry_run(vec![body.read()?], key, &LeastLoaded, shown).await?;
    let answer = answers.into_iter().next().ok_or_else(|| Error::backend("the dry run of one task"))?;
    Ok(Json(answer).into_response())
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>> {
    let Some(key) = headers.get("idempotency-key") else { return Ok(None) };
    let key = key.to_str().map_err(|_| Error::invalid("idempotency_key", "must be printable ASCII"))?;
    Ok(Some(key))
}

pub(crate) async fn get(State(app): State<App>, Id(id): Id<TaskId>) -> Result<Json<Task>, Failure> {
    Ok(Json(app.tasks().get(&id).await?))
}

pub(crate) async fn patch(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Id(id): Id<TaskId>,
    Body(patch): Body<PatchTask>,
) -> Result<Json<Task>, Failure> {
    Ok(Json(app.tasks().patch(&caller, &id, &patch).await?))
}

pub(crate) async fn claim(
    State(app): State<App>,
    Id(id): Id<TaskId>,
    Body(claim): Body<ClaimTask>,
) -> Result<Json<TaskMessage>, Failure> {
    let task = app.tasks().claim(&id, &claim).await?;
    let message = match task.lease_expires_at {
        Some(until) => format!("{} has task {id} until {until}", claim.agent_id),
        None => format!("{} has task {id}", claim.agent_id),
    };
    Ok(Json(TaskMessage { task, message }))
}

pub(crate) async fn complete(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Id(id): Id<TaskId>,
    Body(complete): Body<CompleteTask>,
) -> Result<Json<TaskMessage>, Failure> {
    let task = app.tasks().complete(&caller, &id, complete).await?;
    let message = match (task.status, task.retry_at) {
        (TaskStatus::Pending, Some(at)) => {
            format!("the attempt failed; task {id} is tried again from {at} on")
        }
        (TaskStatus::Failed, _) => format!("the attempt failed, and task {id} for good"),
        (status, _) => format!("task {id} is {status}"),
    };
    Ok(Json(TaskMessage { task, message }))
}

pub(crate) async fn release(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Id(id): Id<TaskId>,
    MaybeBody(release): MaybeBody<ReleaseTask>,
) -> Result<Json<TaskMessage>, Failure> {
    let task = app.tasks().release(&caller, &id, release).await?;
    Ok(Json(TaskMessage { task, message: format!("task {id} was given back") }))
}

pub(crate) async fn cancel(
    State(app): State<App>,
    Id(id): Id<TaskId>,
    MaybeBody(cancel): MaybeBody<CancelBody>,
) -> Result<Json<TaskMessage>, Failure> {
    let task = app.tasks().cancel(&id, cancel.reason).await?;
    Ok(Json(TaskMessage { task, message: format!("task {id} was called off") }))
}

pub(crate) async fn requeue(
    State(app): State<App>,
    Id(id): Id<TaskId>,
) -> Result<Json<TaskMessage>, Failure> {
    let task = app.tasks().requeue(&id).await?;
    Ok(Json(TaskMessage { task, message: format!("task {id} was put back") }))
}

pub(crate) async fn history(
    State(app): State<App>,
    Id(id): Id<TaskId>,
    mut params: Params,
) -> Result<Listing<Event>, Failure> {
    let limit = page::limit(&mut params)?;
    let after = params.take::<EventId>("after")?.unwrap_or(0);
    params.end()?;
    let events = app.tasks().history(&id, after, limit).await?;
    let mut next = None;
    if let Some(last) = events.last().filter(|_| events.len() == limit) {
        let url = params.url_with("after", &last.id.to_string());
        next = (!app.tasks().history(&id, last.id, 1).await?.is_empty()).then_some(url);
    }
    Ok(Listing::new(events, next))
}

/// `?agents` are told one by one.
pub(crate) async fn explain(
    State(app): State<App>,
    Id(id): Id<TaskId>,
    mut params: Params,
) -> Result<Json<Explanation>, Failure> {
    let shown = page::agents(&mut params)?;
    params.end()?;
    Ok(Json(app.tasks().explain(&id, &LeastLoaded, shown).await?))
}
