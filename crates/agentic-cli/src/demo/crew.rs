//! The demo's workers: real processes of this very program.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use agentic_core::id::AgentId;
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::process::{Child, Command};

use super::{agent::PROCESSES, plan::PlannedAgent};
use crate::{
    config::{Secret, World, env},
    failure::Failure,
};

/// How long a worker may take to end when it is told to.
const PATIENCE: Duration = Duration::from_secs(15);

/// The workers of the demo; dropping it kills them, and their guards see to the rest.
#[derive(Debug)]
pub(super) struct Crew {
    program: PathBuf,
    directory: PathBuf,
    settings: PathBuf,
    base_url: String,
    token: Secret,
    path: String,
    workers: Vec<(AgentId, Child)>,
}

impl Crew {
    /// No worker yet.
    ///
    /// # Errors
    /// When this program cannot find itself, or cannot write to `directory`.
    pub(super) fn new(
        world: &World,
        directory: &Path,
        settings: &Path,
        base_url: String,
        token: Secret,
    ) -> Result<Self, Failure> {
        let program =
            std::env::current_exe().map_err(|error| Failure::because("cannot find this program", &error))?;
        fs::create_dir_all(directory.join(PROCESSES))?;
        Ok(Self {
            program,
            directory: directory.to_owned(),
            settings: settings.to_owned(),
            base_url,
            token,
            path: world.variable("PATH").unwrap_or_default().to_owned(),
            workers: Vec::new(),
        })
    }

    /// Starts the worker of an agent. It sees nothing of the caller's settings.
    pub(super) fn start(&mut self, agent: &PlannedAgent) -> Result<(), Failure> {
        let log = File::options().create(true).append(true).open(self.log(&agent.id))?;
        let capabilities = agent.capabilities.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let child = Command::new(&self.program)
            .arg("--config")
            .arg(&self.settings)
            .args(["worker", "--agent-id", agent.id.as_str(), "--capability", &capabilities])
            .args(["--max-load", &agent.max_load.to_string(), "--"])
            .arg(&self.program)
            .arg("demo-agent")
            .env_clear()
            .env("PATH", &self.path)
            .env(env::BASE_URL, &self.base_url)
            .env(env::TOKEN, self.token.reveal())
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| {
                Failure::because(format_args!("cannot start the worker of {}", agent.id), &error)
            })?;
        self.workers.push((agent.id.clone(), child));
        Ok(())
    }

    /// Kills the worker of an agent, without a word, and waits until it is gone.
    pub(super) async fn kill(&mut self, agent: &AgentId) -> Result<(), Failure> {
        let Some(at) = self.workers.iter().position(|(id, _)| id == agent) else { return Ok(()) };
        let (_, mut child) = self.workers.remove(at);
        Ok(child.kill().await?)
    }

    /// A worker that ended by itself: none should.
    pub(super) fn fallen(&mut self) -> Option<String> {
        self.workers.iter_mut().find_map(|(agent, child)| match child.try_wait() {
            Ok(Some(status)) => Some(format!("the worker of {agent} ended by itself: {status}")),
            _ => None,
        })
    }

    /// Tells all workers to end, and waits; answers with what did not go well.
    pub(super) async fn end(&mut self) -> Vec<String> {
        for (_, child) in &self.workers {
            if let Some(id) = child.id().and_then(|id| i32::try_from(id).ok()) {
                // One that is gone already is waited for all the same.
                let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
            }
        }
        let mut wrong = Vec::new();
        for (agent, mut child) in self.workers.drain(..) {
            match tokio::time::timeout(PATIENCE, child.wait()).await {
                Ok(Ok(status)) if status.success() => {}
                Ok(Ok(status)) => wrong.push(format!("the worker of {agent} ended with {status}")),
                Ok(Err(error)) => wrong.push(format!("the worker of {agent}: {error}")),
                Err(_) => {
                    wrong.push(format!("the worker of {agent} did not end when it was told to"));
                    let _ = child.kill().await;
                }
            }
        }
        wrong
    }

    /// The processes that simulated agents left and that still run.
    pub(super) fn left(&self) -> Result<Vec<i32>, Failure> {
        let names = fs::read_dir(self.directory.join(PROCESSES))?;
        let ids = names.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        Ok(ids.filter(|id| runs(*id)).collect())
    }

    /// How many processes simulated agents were.
    pub(super) fn noted(&self) -> Result<usize, Failure> {
        Ok(fs::read_dir(self.directory.join(PROCESSES))?.count())
    }

    /// Where the worker of an agent logs.
    pub(super) fn log(&self, agent: &AgentId) -> PathBuf {
        self.directory.join(format!("{agent}.log"))
    }
}

/// Whether a process runs; one that has ended and that its parent has not taken note of does not.
fn runs(id: i32) -> bool {
    if matches!(kill(Pid::from_raw(id), None), Err(Errno::ESRCH)) {
        return false;
    }
    // Only Linux has this file; elsewhere orphans are taken note of by the system.
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    !stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'))
}
