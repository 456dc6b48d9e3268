//! `/internal/v1/call`: the ports for other processes of the same fleet, with no promise of stability.

use std::time::Duration;

use agentic_core::{
    clock::Timestamp,
    rpc::{self, Call},
};
use axum::{Json, extract::State};
use serde_json::Value;

use crate::{app::App, extract::Body, problem::Failure};

pub(crate) async fn call(State(app): State<App>, Body(call): Body<Call>) -> Result<Json<Value>, Failure> {
    if let (Some(theirs), Some(most)) = (call.now(), app.max_skew) {
        check_clock(theirs, app.fleet.now(), most)?;
    }
    Ok(Json(app.until_stopped(rpc::serve(app.fleet.ports(), call)).await?))
}

/// The server's clock decides, so a caller that counts by another one is told.
fn check_clock(theirs: Timestamp, ours: Timestamp, most: Duration) -> Result<(), Failure> {
    let (ahead, behind) = (theirs.since(ours), ours.since(theirs));
    if ahead.max(behind) <= most {
        return Ok(());
    }
    let (apart, side) = if ahead > behind { (ahead, "ahead of") } else { (behind, "behind") };
    Err(Failure::clock_skew(format!(
        "the caller's clock is {:.1} s {side} the server's, more than {:.1} s: synchronise both, as with NTP",
        apart.as_secs_f64(),
        most.as_secs_f64(),
    )))
}
