//! The private directory of one attempt.

use std::{
    fs::{self, Permissions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use agentic_core::{amount::Amount, task::Task, usage::Directive};
use serde::Serialize;
use tempfile::TempDir;

/// What a command is told while it runs: one JSON object on a line of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Control {
    /// What to do.
    pub(crate) directive: Directive,
    /// Why, unless it is to go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// Tokens left under the tightest limit, as of the last answer of the server; absent = unlimited, or not known yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remaining_tokens: Option<Amount>,
}

/// The files that an attempt and its command share; removed with this value.
#[derive(Debug)]
pub(crate) struct AttemptFiles {
    dir: TempDir,
}

impl AttemptFiles {
    /// Makes the directory (0700), the task's JSON on one line, an empty report and the control file (0600 each).
    pub(crate) fn create(task: &Task) -> io::Result<Self> {
        let mut builder = tempfile::Builder::new();
        let dir = builder.prefix("agentic-").permissions(Permissions::from_mode(0o700)).tempdir()?;
        let files = Self { dir };
        let mut json = serde_json::to_vec(task)?;
        json.push(b'\n');
        write_private(&files.task(), &json)?;
        write_private(&files.report(), b"")?;
        files.tell(&Control::default())?;
        Ok(files)
    }

    /// The task as JSON.
    pub(crate) fn task(&self) -> PathBuf {
        self.dir.path().join("task.json")
    }

    /// What the command reports.
    pub(crate) fn report(&self) -> PathBuf {
        self.dir.path().join("report.jsonl")
    }

    /// What the command is told.
    pub(crate) fn control(&self) -> PathBuf {
        self.dir.path().join("control.json")
    }

    /// Tells the command, in one step: who reads sees the old word or the new one, each of them whole.
    pub(crate) fn tell(&self, control: &Control) -> io::Result<()> {
        let mut json = serde_json::to_vec(control)?;
        json.push(b'\n');
        let fresh = self.dir.path().join("control.new");
        write_private(&fresh, &json)?;
        fs::rename(fresh, self.control())
    }
}

fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?.write_all(content)
}

#[cfg(test)]
mod tests {
    use agentic_core::{clock::Timestamp, task::NewTask};

    use super::*;

    #[test]
    fn files_are_private_and_go_with_the_attempt() {
        let task = NewTask::new("t-1".parse().unwrap(), "two\nlines").into_task(Timestamp::EPOCH);
        let files = AttemptFiles::create(&task).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let dir = files.task().parent().unwrap().to_owned();
        assert_eq!(mode(&dir), 0o700);
        for file in [files.task(), files.report(), files.control()] {
            assert_eq!(mode(&file), 0o600, "{}", file.display());
        }
        let json = fs::read_to_string(files.task()).unwrap();
        assert_eq!(json.lines().count(), 1);
        assert_eq!(serde_json::from_str::<Task>(&json).unwrap(), task);
        let told = || fs::read_to_string(files.control()).unwrap();
        assert_eq!(told(), "{\"directive\":\"continue\"}\n");
        let control = Control {
            directive: Directive::WrapUp,
            reason: Some("90 used of 100:\nagent:a tokens day".to_owned()),
            remaining_tokens: Some(10u32.into()),
        };
        files.tell(&control).unwrap();
        let reason = "90 used of 100:\\nagent:a tokens day";
        assert_eq!(
            told(),
            format!("{{\"directive\":\"wrap_up\",\"reason\":\"{reason}\",\"remaining_tokens\":10}}\n")
        );
        drop(files);
        assert!(!dir.exists());
    }
}
