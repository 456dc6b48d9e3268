//! `agentic worker`.

use std::{error::Error as _, ffi::OsString, path::PathBuf};

use agentic_client::Client;
use agentic_core::agent::AgentSpec;
use agentic_worker::{Worker, WorkerConfig, WorkerError, WorkerReport};

use crate::{
    args::{AgentFlags, WorkerArgs},
    config::{AgentSettings, Settings},
    failure::{Failure, Kind},
    session::Session,
    signals::Stop,
};

/// Runs an agent until it is told to end; then it takes no more work, and what runs may end.
pub(crate) async fn worker(session: &Session, args: WorkerArgs) -> Result<(), Failure> {
    let stop = Stop::on_signals()?;
    let settings = &session.loaded.settings;
    let agent = spec(settings, &args.agent)?;
    let config = config(settings, agent, args.command, args.agent.workdir, &settings.base_url)?;
    let agent = config.agent.id.clone();
    session.printer.note(&format!("agent {agent} works for {}", settings.base_url));
    let report = run(session.client()?, config, stop).await?;
    session.printer.note(&format!("agent {agent} ended: {}", told(report)));
    Ok(())
}

/// How the attempts of a worker ended, in words.
pub(super) fn told(report: WorkerReport) -> String {
    let WorkerReport { completed, failed, released, lost } = report;
    format!("{completed} completed, {failed} failed, {released} given back, {lost} lost")
}

/// Runs one worker until it is told to end.
pub(super) async fn run(client: Client, config: WorkerConfig, stop: Stop) -> Result<WorkerReport, Failure> {
    let worker = Worker::new(client, config).map_err(failed)?;
    worker.run(stop.gently, stop.now).await.map_err(failed)
}

fn failed(error: WorkerError) -> Failure {
    // The kind of what the server said is the kind of the failure.
    let source = match &error {
        WorkerError::Config(source) | WorkerError::Refused { source, .. } => {
            Some(Failure::from(source.clone()).kind)
        }
        WorkerError::Superseded(_) => Some(Kind::Conflict),
        _ => None,
    };
    let why = error.source().map_or_else(String::new, |source| format!(": {source}"));
    Failure::new(source.unwrap_or(Kind::Failed), format!("{error}{why}"))
}

/// The agent that the flags and the settings name.
pub(super) fn spec(settings: &Settings, flags: &AgentFlags) -> Result<AgentSpec, Failure> {
    let Some(id) = settings.agent_id.clone() else {
        return Err(Failure::usage("the agent has no id").hint("name it with --agent-id ID"));
    };
    Ok(AgentSpec {
        name: flags.name.clone().unwrap_or_else(|| id.to_string()),
        id,
        capabilities: flags.capability.iter().cloned().collect(),
        models: flags.model.clone(),
        max_load: flags.max_load,
    })
}

/// An agent of the setting `agents`.
pub(super) fn configured(
    settings: &Settings,
    agent: AgentSettings,
    base_url: &str,
) -> Result<WorkerConfig, Failure> {
    let AgentSettings { agent_id, name, capabilities, models, max_load, workdir, command } = agent;
    let name = if name.is_empty() { agent_id.to_string() } else { name };
    let spec = AgentSpec { id: agent_id, name, capabilities, models, max_load };
    let command = command.into_iter().map(OsString::from).collect();
    config(settings, spec, command, workdir, base_url)
}

/// A worker as the settings say, guarded by this program.
pub(super) fn config(
    settings: &Settings,
    agent: AgentSpec,
    command: Vec<OsString>,
    workdir: Option<PathBuf>,
    base_url: &str,
) -> Result<WorkerConfig, Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::because("cannot find the program that guards commands", &error))?;
    let mut config = WorkerConfig::new(agent, command, base_url);
    config.workdir = workdir;
    config.guard = Some(vec![program.into(), "guard".into()]);
    config.heartbeat = settings.heartbeat;
    config.drain_grace = settings.drain_grace;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_worker_goes_by_the_settings_and_is_guarded() {
        let (heartbeat, drain_grace) = (Duration::from_secs(2), Duration::from_secs(3));
        let settings = Settings { heartbeat, drain_grace, ..Settings::default() };
        let command = vec!["true".into()];
        let spec = AgentSpec::new("ada".parse().unwrap());
        let config = config(&settings, spec, command, Some("/srv".into()), "http://h").unwrap();
        assert_eq!((config.heartbeat, config.drain_grace), (heartbeat, drain_grace));
        assert_eq!(config.guard.unwrap()[1], "guard");
        assert_eq!((config.workdir, config.base_url.as_str()), (Some("/srv".into()), "http://h"));
    }

    #[test]
    fn an_agent_needs_an_id() {
        let (capability, model) = (Vec::new(), Vec::new());
        let flags = AgentFlags { agent_id: None, name: None, capability, max_load: 1, model, workdir: None };
        assert!(spec(&Settings::default(), &flags).unwrap_err().hints[0].contains("--agent-id"));
        let settings = Settings { agent_id: Some("ada".parse().unwrap()), ..Settings::default() };
        assert_eq!(spec(&settings, &flags).unwrap().name, "ada");
    }
}
