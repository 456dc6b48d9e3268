//! `agentic status`.

use crate::{failure::Failure, session::Session};

/// Shows the fleet at a glance.
pub(crate) async fn status(session: &Session) -> Result<(), Failure> {
    let summary = session.client()?.status().await?;
    if session.printer.is_json {
        session.printer.json(&summary)
    } else {
        session.printer.text(&summary.to_string())
    }
}
