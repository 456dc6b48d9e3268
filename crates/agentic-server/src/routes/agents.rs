//! `/api/agents`.

use std::time::Duration;

use agentic_core::{
    agent::AgentInfo,
    api::{HeartbeatAnswer, HeartbeatBody, RegisterAgent},
    error::Error,
    id::AgentId,
    task::Task,
};
use axum::{Json, extract::State, http::StatusCode};

use crate::{
    app::App,
    extract::{Body, Id, MaybeBody, Params},
    page::Listing,
    problem::Failure,
};

pub(crate) async fn list(State(app): State<App>, params: Params) -> Result<Listing<AgentInfo>, Failure> {
    Ok(Listing::by_key(app.agents().list().await?, params, |agent| agent.id.as_str())?)
}

pub(crate) async fn register(
    State(app): State<App>,
    Body(agent): Body<RegisterAgent>,
) -> Result<(StatusCode, Json<AgentInfo>), Failure> {
    Ok((StatusCode::CREATED, Json(app.agents().register(agent.into()).await?)))
}

pub(crate) async fn get(State(app): State<App>, Id(id): Id<AgentId>) -> Result<Json<AgentInfo>, Failure> {
    Ok(Json(app.agents().get(&id).await?))
}

pub(crate) async fn delete(State(app): State<App>, Id(id): Id<AgentId>) -> Result<StatusCode, Failure> {
    app.agents().deregister(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn heartbeat(
    State(app): State<App>,
    Id(id): Id<AgentId>,
    MaybeBody(beat): MaybeBody<HeartbeatBody>,
) -> Result<Json<HeartbeatAnswer>, Failure> {
    Ok(Json(app.agents().heartbeat(&id, beat).await?))
}

pub(crate) async fn drain(State(app): State<App>, Id(id): Id<AgentId>) -> Result<Json<AgentInfo>, Failure> {
    Ok(Json(app.agents().set_draining(&id, true).await?))
}

pub(crate) async fn resume(State(app): State<App>, Id(id): Id<AgentId>) -> Result<Json<AgentInfo>, Failure> {
    Ok(Json(app.agents().set_draining(&id, false).await?))
}

/// The long poll of a worker: `?incarnation&wait`, in seconds.
pub(crate) async fn assignments(
    State(app): State<App>,
    Id(id): Id<AgentId>,
    mut params: Params,
) -> Result<Json<Vec<Task>>, Failure> {
    let incarnation = params.take("incarnation")?;
    let wait = Duration::from_secs(params.take("wait")?.unwrap_or(0));
    params.end()?;
    let incarnation =
        incarnation.ok_or_else(|| Error::invalid("incarnation", "must be the one that registering gave"))?;
    Ok(Json(app.until_stopped(app.agents().assignments(&id, incarnation, wait)).await?))
}
