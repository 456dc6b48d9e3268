//! `/api/lanes` and `/api/status`.

use agentic_core::{
    api::LaneBody, error::Error, explain::LaneExplanation, lane::Lane, status::StatusSummary,
};
use agentic_dispatch::LeastLoaded;
use axum::{Json, extract::State};

use crate::{
    app::App,
    extract::Params,
    page::{self, Listing},
    problem::Failure,
};

pub(crate) async fn lanes(State(app): State<App>, params: Params) -> Result<Listing<LaneBody>, Failure> {
    Ok(Listing::by_position(app.tasks().lanes().await?, params)?)
}

/// Why nothing moves in the lane `?lane=labels|model|project`; `?agents` are told one by one.
pub(crate) async fn explain_lane(
    State(app): State<App>,
    mut params: Params,
) -> Result<Json<LaneExplanation>, Failure> {
    let lane: Option<Lane> = params.take("lane")?;
    let shown = page::agents(&mut params)?;
    params.end()?;
    let lane = lane.ok_or_else(|| Error::invalid("lane", "must be labels|model|project"))?;
    Ok(Json(app.tasks().explain_lane(lane, &LeastLoaded, shown).await?))
}

pub(crate) async fn status(State(app): State<App>) -> Result<Json<StatusSummary>, Failure> {
    Ok(Json(app.fleet.status().await?))
}
