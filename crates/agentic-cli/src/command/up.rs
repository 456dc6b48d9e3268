//! `agentic up`.

use agentic_client::Client;
use agentic_worker::WorkerConfig;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{serve::announce, worker};
use crate::{args::UpArgs, failure::Failure, server::Listening, session::Session, signals::Stop};

/// Runs a server and its agents; the agents end first, so that they can say how.
pub(crate) async fn up(session: &Session, args: UpArgs) -> Result<(), Failure> {
    let stop = Stop::on_signals()?;
    let listening = Listening::new(&session.loaded).await?;
    let base_url = listening.base_url();
    let configs = configs(session, args, &base_url)?;
    let client = Client::builder(&base_url).token(listening.token.reveal()).build()?;
    announce(session, &listening)?;

    let stop_server = CancellationToken::new();
    let server = tokio::spawn(listening.run(stop_server.clone()));
    let mut workers = JoinSet::new();
    for config in configs {
        let (client, stop, printer) = (client.clone(), stop.clone(), session.printer);
        workers.spawn(async move {
            let agent = config.agent.id.clone();
            let ended = worker::run(client, config, stop.clone()).await;
            match &ended {
                Ok(report) => printer.note(&format!("agent {agent} ended: {}", worker::told(*report))),
                // One that cannot work ends all: half a fleet is not what was asked for.
                Err(failure) => {
                    printer.note(&format!("agent {agent} ended: {}", failure.error));
                    stop.gently.cancel();
                }
            }
            ended.map(drop)
        });
    }
    let mut outcome = Ok(());
    while let Some(ended) = workers.join_next().await {
        let ended = ended.unwrap_or_else(|error| Err(Failure::because("an agent broke", &error)));
        outcome = outcome.and(ended);
    }
    stop_server.cancel();
    let ended = tokio::select! {
        ended = server => ended.map_err(|error| Failure::because("the server broke", &error)),
        () = stop.now.cancelled() => Err(Failure::failed("ended at once, as it was told twice")),
    };
    outcome.and(ended)
}

/// The agent of the command line, else those of the settings.
fn configs(session: &Session, args: UpArgs, base_url: &str) -> Result<Vec<WorkerConfig>, Failure> {
    let settings = &session.loaded.settings;
    if !args.command.is_empty() {
        let agent = worker::spec(settings, &args.agent)?;
        let config = worker::config(settings, agent, args.command, args.agent.workdir, base_url)?;
        return Ok(vec![config]);
    }
    if settings.agents.is_empty() {
        return Err(Failure::usage("there is no agent to run")
            .hint("name one: agentic up --agent-id ID -- COMMAND")
            .hint("or set `agents`, as docs/reference/agentic.yaml shows"));
    }
    let agents = settings.agents.iter().cloned();
    agents.map(|agent| worker::configured(settings, agent, base_url)).collect()
}
