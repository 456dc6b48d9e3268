//! The private directory of one attempt.

use std::{
    fs::{self, Permissions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use agentic_core::{task::Task, usage::Directive};
use tempfile::TempDir;

/// The files that an attempt and its command share; removed with this value.
#[derive(Debug)]
pub(crate) struct AttemptFiles {
    dir: TempDir,
}

impl AttemptFiles {
    /// Makes the directory (0700), the task's JSON on one line, an empty report and a directive (0600 each).
    pub(crate) fn create(task: &Task) -> io::Result<Self> {
        let mut builder = tempfile::Builder::new();
        let dir = builder.prefix("agentic-").permissions(Permissions::from_mode(0o700)).tempdir()?;
        let files = Self { dir };
        let mut json = serde_json::to_vec(task)?;
        json.push(b'\n');
        write_private(&files.task(), &json)?;
        write_private(&files.report(), b"")?;
        files.direct(Directive::Continue)?;
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
    pub(crate) fn directive(&self) -> PathBuf {
        self.dir.path().join("directive")
    }

    /// Tells the command, in one step: who reads sees the old word or the new one.
    pub(crate) fn direct(&self, directive: Directive) -> io::Result<()> {
        let word = match directive {
            Directive::Continue => "continue\n",
            Directive::WrapUp => "wrap_up\n",
            Directive::Stop => "stop\n",
        };
        let fresh = self.dir.path().join("directive.new");
        write_private(&fresh, word.as_bytes())?;
        fs::rename(fresh, self.directive())
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
        for file in [files.task(), files.report(), files.directive()] {
            assert_eq!(mode(&file), 0o600, "{}", file.display());
        }
        let json = fs::read_to_string(files.task()).unwrap();
        assert_eq!(json.lines().count(), 1);
        assert_eq!(serde_json::from_str::<Task>(&json).unwrap(), task);
        files.direct(Directive::WrapUp).unwrap();
        assert_eq!(fs::read_to_string(files.directive()).unwrap(), "wrap_up\n");
        drop(files);
        assert!(!dir.exists());
    }
}
