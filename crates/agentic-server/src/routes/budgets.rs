//! `/api/budgets`.

use agentic_core::{budget::Budget, limit::Scope};
use axum::{Json, extract::State, http::StatusCode};

use crate::{
    app::App,
    extract::{self, Id, Params},
    page::Listing,
    problem::Failure,
};

pub(crate) async fn list(State(app): State<App>, params: Params) -> Result<Listing<Budget>, Failure> {
    Ok(Listing::by_position(app.allowances().budgets().await?, params)?)
}

pub(crate) async fn get(State(app): State<App>, Id(scope): Id<Scope>) -> Result<Json<Budget>, Failure> {
    Ok(Json(app.allowances().budget(&scope).await?))
}

pub(crate) async fn put(
    State(app): State<App>,
    Id(scope): Id<Scope>,
    body: extract::Json,
) -> Result<Json<Budget>, Failure> {
    Ok(Json(app.allowances().set_budget(body.read_with("scope", &scope.to_string())?).await?))
}

pub(crate) async fn delete(State(app): State<App>, Id(scope): Id<Scope>) -> Result<StatusCode, Failure> {
    app.allowances().delete_budget(&scope).await?;
    Ok(StatusCode::NO_CONTENT)
}
