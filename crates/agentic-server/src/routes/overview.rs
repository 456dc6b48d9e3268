//! `/api/lanes` and `/api/status`.

use agentic_core::{api::LaneBody, status::StatusSummary};
use axum::{Json, extract::State};

use crate::{app::App, extract::Params, page::Listing, problem::Failure};

pub(crate) async fn lanes(State(app): State<App>, params: Params) -> Result<Listing<LaneBody>, Failure> {
    Ok(Listing::by_position(app.tasks().lanes().await?, params)?)
}

pub(crate) async fn status(State(app): State<App>) -> Result<Json<StatusSummary>, Failure> {
    Ok(Json(app.fleet.status().await?))
}
