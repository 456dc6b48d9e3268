//! Which handler answers which route, and what surrounds them all.

use agentic_core::rpc::MAX_WAIT;
use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::Uri,
    middleware::from_fn_with_state,
    routing::{get, post},
};
use tower_http::catch_panic::CatchPanicLayer;

use crate::{
    app::App,
    auth, observe,
    problem::Failure,
    routes::{agents, allowances, budgets, events, health, internal, ledger, models, overview, tasks},
};

/// The largest body, in bytes.
const MAX_BODY: usize = 1 << 20;

/// Every route, behind the table of [`auth`].
pub(crate) fn router(app: App) -> Router {
    let at_once = Router::new()
        .route("/api/tasks", get(tasks::list).post(tasks::create))
        .route("/api/tasks/{id}", get(tasks::get).patch(tasks::patch))
        .route("/api/tasks/{id}/claim", post(tasks::claim))
        .route("/api/tasks/{id}/complete", post(tasks::complete))
        .route("/api/tasks/{id}/release", post(tasks::release))
        .route("/api/tasks/{id}/cancel", post(tasks::cancel))
        .route("/api/tasks/{id}/requeue", post(tasks::requeue))
        .route("/api/tasks/{id}/history", get(tasks::history))
        .route("/api/tasks/{id}/explain", get(tasks::explain))
        .route("/api/agents", get(agents::list).post(agents::register))
        .route("/api/agents/{id}", get(agents::get).delete(agents::delete))
        .route("/api/agents/{id}/heartbeat", post(agents::heartbeat))
        .route("/api/agents/{id}/drain", post(agents::drain))
        .route("/api/agents/{id}/resume", post(agents::resume))
        .route("/api/allowances", get(allowances::list))
        .route(
            "/api/allowances/{agent}",
            get(allowances::get).put(allowances::put).delete(allowances::delete),
        )
        .route("/api/allowances/{agent}/reset", post(allowances::reset))
        .route("/api/usage", post(allowances::report))
        .route("/api/usage/{agent}", get(allowances::usage))
        .route("/api/models", get(models::list))
        // A model's name may contain slashes.
        .route("/api/models/{*model}", get(models::get).put(models::put).delete(models::delete))
        // Of any agent, also of one whose name is a route.
        .route("/api/ledger", get(ledger::find))
        .route("/api/ledger/{agent}", get(ledger::show))
        // A scope may contain slashes.
        .route("/api/budgets", get(budgets::list))
        .route("/api/budgets/{*scope}", get(budgets::get).put(budgets::put).delete(budgets::delete))
        .route("/api/lanes", get(overview::lanes))
        .route("/api/lanes/explain", get(overview::explain_lane))
        .route("/api/status", get(overview::status))
        // Only its head is under the time limit: the events come after.
        .route("/api/events", get(events::stream))
        .route("/v1/health", get(health::health))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .layer(from_fn_with_state(app.timeout, observe::limit_time));
    let waiting = Router::new()
        .route("/api/agents/{id}/assignments", get(agents::assignments))
        .route("/internal/v1/call", post(internal::call))
        .route("/api/ledger/verify", get(ledger::verify))
        .layer(from_fn_with_state(app.timeout + MAX_WAIT, observe::limit_time));
    at_once
        .merge(waiting)
        .fallback(nothing_here)
        .method_not_allowed_fallback(other_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn_with_state(app.clone(), auth::gate))
        .layer(CatchPanicLayer::custom(observe::panicked))
        .layer(from_fn_with_state(app.clone(), observe::observe))
        .with_state(app)
}

async fn nothing_here(uri: Uri) -> Failure {
    Failure::no_route(&uri)
}

async fn other_method() -> Failure {
    Failure::method_not_allowed()
}
