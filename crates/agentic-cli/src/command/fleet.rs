//! `agentic status` and `agentic explain`.

use agentic_core::id::TaskId;

use crate::{
    failure::Failure,
    output::{Table, or_dash},
    session::Session,
};

/// Shows the fleet at a glance.
pub(crate) async fn status(session: &Session) -> Result<(), Failure> {
    let summary = session.client()?.status().await?;
    if session.printer.is_json {
        session.printer.json(&summary)
    } else {
        session.printer.text(&summary.to_string())
    }
}

/// Says why a task waits, agent by agent.
pub(crate) async fn explain(session: &Session, id: &TaskId) -> Result<(), Failure> {
    let explanation = session.client()?.explain(id).await?;
    if session.printer.is_json {
        return session.printer.json(&explanation);
    }
    let task = &explanation.task;
    let why = match &task.pending_reason {
        Some(reason) => {
            let until =
                reason.retry_at.map_or_else(String::new, |at| format!("; worth another look at {at}"));
            format!("{} is {}: {} ({}){until}", task.id, task.status, reason.detail, reason.code)
        }
        None => format!("{} is {}", task.id, task.status),
    };
    session.printer.line(&why)?;
    if task.status.is_final() {
        return Ok(());
    }
    let mut table = Table::new(&["AGENT", "STATUS", "FITS", "WHY NOT", "NEXT LOOK"]);
    for verdict in explanation.agents {
        table.row([
            verdict.agent_id.to_string(),
            verdict.status.to_string(),
            if verdict.fits { "yes" } else { "no" }.to_owned(),
            or_dash(verdict.reason),
            or_dash(verdict.retry_at),
        ]);
    }
    if table.is_empty() {
        session.printer.note("no agent is registered: start one with `agentic worker`");
        return Ok(());
    }
    session.printer.table(table)
}
