//! `/v1/health`, `/livez` and `/readyz`: for whoever watches, without a token.

use agentic_core::error::Error;
use axum::{Json, extract::State};
use serde_json::{Value, json};

use crate::{app::App, problem::Failure};

/// Whether the server is there and its store answers.
pub(crate) async fn health(State(app): State<App>) -> Result<Json<Value>, Failure> {
    app.fleet.ports().events.last().await?;
    Ok(Json(json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") })))
}

/// Whether the process lives.
pub(crate) async fn live() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// Whether it is worth sending requests here: the store answers, and took what the last sweep wrote. A sweep writes at
/// least its time, so that this costs nobody a write.
pub(crate) async fn ready(State(app): State<App>) -> Result<Json<Value>, Failure> {
    if app.stop.is_cancelled() {
        return Err(Error::unavailable("a server that is shutting down").into());
    }
    match app.fleet.trouble() {
        Some(trouble) => Err(trouble.into()),
        None => health(State(app)).await,
    }
}
