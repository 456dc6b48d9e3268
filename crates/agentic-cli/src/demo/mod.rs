//! `agentic demo`: everything in under a minute.

pub(crate) mod agent;

use crate::{args::DemoArgs, failure::Failure, session::Session};

pub(crate) async fn run(_session: &Session, _args: DemoArgs) -> Result<(), Failure> {
    Ok(())
}
