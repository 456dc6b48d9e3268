//! The simulated agent: what the demo's workers run for each task.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write, stdin},
    path::Path,
    process::ExitCode,
    thread,
    time::Duration,
};

use agentic_core::task::Task;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::config::{World, env};

/// What the simulated agent does with a task; stands in the task's description.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Script {
    /// How many steps the work has.
    pub steps: u32,
    /// How long each takes, in milliseconds.
    pub step_millis: u64,
    /// How many tokens each takes.
    pub step_tokens: u64,
    /// It fails while it was retried less often than this.
    pub failures: u32,
    /// Half done, it waits until this file is there.
    pub waits_for: Option<String>,
}

/// Does what the task's description says, and reports progress and tokens while it does.
pub(crate) fn main(world: &World) -> ExitCode {
    match work(world) {
        Ok(done) => {
            // A worker that is gone reads no result.
            let _ = writeln!(io::stdout().lock(), "{done}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(io::stderr().lock(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn work(world: &World) -> io::Result<String> {
    let variable = |name| {
        world.variable(name).ok_or_else(|| io::Error::other(format!("{name} is not set; a worker sets it")))
    };
    let task: Task = serde_json::from_reader(stdin().lock())?;
    let script: Script = serde_json::from_str(&task.description)?;
    let attempt: u32 = variable(env::ATTEMPT)?.parse().map_err(io::Error::other)?;
    let reports = Path::new(variable(env::REPORT_FILE)?);
    note_process(&world.directory)?;
    for step in 1..=script.steps {
        thread::sleep(Duration::from_millis(script.step_millis));
        let tokens = u64::from(step) * script.step_tokens;
        let report = json!({ "progress": step * 100 / script.steps, "tokens_in": tokens / 2, "tokens_out": tokens - tokens / 2 });
        writeln!(OpenOptions::new().append(true).create(true).open(reports)?, "{report}")?;
        if step == script.steps.div_ceil(2) {
            if task.retry_count < script.failures {
                return Err(io::Error::other(format!("attempt {attempt} was made to fail")));
            }
            if let Some(file) = &script.waits_for {
                wait_for(&world.directory.join(file))?;
            }
        }
    }
    Ok(format!("{}: {} steps done", task.title, script.steps))
}

/// Waits at most a minute for a file.
fn wait_for(path: &Path) -> io::Result<()> {
    for _ in 0..600 {
        if path.exists() {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(100));
    }
    Err(io::Error::other(format!("{} did not come", path.display())))
}

/// Leaves this process' id and its parent's, so that the demo can check that none is left.
fn note_process(directory: &Path) -> io::Result<()> {
    for id in [std::process::id(), std::os::unix::process::parent_id()] {
        fs::write(directory.join(PROCESSES).join(id.to_string()), "")?;
    }
    Ok(())
}

/// Where simulated agents note their processes, below the directory that they run in.
pub(crate) const PROCESSES: &str = "processes";
