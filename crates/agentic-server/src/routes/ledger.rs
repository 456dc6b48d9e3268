//! `/api/ledger`.

use agentic_core::{
    error::Error,
    id::AgentId,
    port::{Difference, EntryPage, ReadEntries},
};
use axum::{Json, extract::State};

use crate::{
    app::App,
    extract::{Id, Params},
    page,
    problem::Failure,
};

/// Every meter that is not the sum of its entries; an empty list where all are. The whole ledger is read.
pub(crate) async fn verify(State(app): State<App>) -> Result<Json<Vec<Difference>>, Failure> {
    Ok(Json(app.allowances().verify().await?))
}

/// A page of an agent's entries, newest first, with the cursor of the next one, or else the opening balance behind them.
pub(crate) async fn show(
    State(app): State<App>,
    Id(agent_id): Id<AgentId>,
    params: Params,
) -> Result<Json<EntryPage>, Failure> {
    page_of(&app, agent_id, params).await
}

/// The same of `?agent`, which may be called as another route is.
pub(crate) async fn find(State(app): State<App>, mut params: Params) -> Result<Json<EntryPage>, Failure> {
    let agent_id =
        params.take("agent")?.ok_or_else(|| Error::invalid("agent", "says whose ledger to read"))?;
    page_of(&app, agent_id, params).await
}

async fn page_of(app: &App, agent_id: AgentId, mut params: Params) -> Result<Json<EntryPage>, Failure> {
    let read = ReadEntries { agent_id, cursor: params.take("cursor")?, limit: page::limit(&mut params)? };
    params.end()?;
    Ok(Json(app.allowances().ledger(read).await?))
}
