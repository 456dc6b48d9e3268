//! `/api/models`.

use agentic_core::{allowance::ModelQuota, id::ModelName};
use axum::{Json, extract::State, http::StatusCode};

use crate::{
    app::App,
    extract::{self, Id, Params},
    page::Listing,
    problem::Failure,
};

pub(crate) async fn list(State(app): State<App>, params: Params) -> Result<Listing<ModelQuota>, Failure> {
    Ok(Listing::by_key(app.allowances().models().await?, params, |quota| quota.model.as_str())?)
}

pub(crate) async fn get(
    State(app): State<App>,
    Id(model): Id<ModelName>,
) -> Result<Json<ModelQuota>, Failure> {
    Ok(Json(app.allowances().model(&model).await?))
}

pub(crate) async fn put(
    State(app): State<App>,
    Id(model): Id<ModelName>,
    body: extract::Json,
) -> Result<Json<ModelQuota>, Failure> {
    Ok(Json(app.allowances().set_model(body.read_with("model", model.as_str())?).await?))
}

pub(crate) async fn delete(State(app): State<App>, Id(model): Id<ModelName>) -> Result<StatusCode, Failure> {
    app.allowances().delete_model(&model).await?;
    Ok(StatusCode::NO_CONTENT)
}
