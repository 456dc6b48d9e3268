//! `/api/allowances` and `/api/usage`.

use agentic_core::{
    allowance::{AgentAllowance, UsageAnswer, UsageRecord, UsageReport},
    id::AgentId,
};
use axum::{Json, extract::State, http::StatusCode};

use crate::{
    app::App,
    extract::{self, Body, Id, Params},
    page::Listing,
    problem::Failure,
};

pub(crate) async fn list(State(app): State<App>, params: Params) -> Result<Listing<AgentAllowance>, Failure> {
    Ok(Listing::by_key(app.allowances().list().await?, params, |allowance| allowance.agent_id.as_str())?)
}

pub(crate) async fn get(
    State(app): State<App>,
    Id(agent): Id<AgentId>,
) -> Result<Json<AgentAllowance>, Failure> {
    Ok(Json(app.allowances().get(&agent).await?))
}

pub(crate) async fn put(
    State(app): State<App>,
    Id(agent): Id<AgentId>,
    body: extract::Json,
) -> Result<Json<AgentAllowance>, Failure> {
    Ok(Json(app.allowances().set(body.read_with("agent_id", agent.as_str())?).await?))
}

pub(crate) async fn delete(State(app): State<App>, Id(agent): Id<AgentId>) -> Result<StatusCode, Failure> {
    app.allowances().delete(&agent).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn reset(
    State(app): State<App>,
    Id(agent): Id<AgentId>,
) -> Result<Json<UsageRecord>, Failure> {
    Ok(Json(app.allowances().reset_agent(&agent).await?))
}

pub(crate) async fn report(
    State(app): State<App>,
    Body(report): Body<UsageReport>,
) -> Result<Json<UsageAnswer>, Failure> {
    Ok(Json(app.allowances().record_usage(report).await?))
}

pub(crate) async fn usage(
    State(app): State<App>,
    Id(agent): Id<AgentId>,
) -> Result<Json<UsageRecord>, Failure> {
    Ok(Json(app.allowances().usage(&agent).await?))
}
