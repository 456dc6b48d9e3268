//! One command as a process group of its own.

use std::{
    ffi::OsString,
    fs::File,
    io,
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    time::{sleep, timeout},
};

use crate::tail::Tail;

/// How long to wait for pipes to end and for a killed group to be gone: a process that left the group may hold a pipe.
const AFTERMATH: Duration = Duration::from_secs(1);

/// What an attempt's environment never contains.
const SECRET: &str = "AGENTIC_TOKEN";

/// What to run.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    /// The program and its arguments.
    pub(crate) command: &'a [OsString],
    /// The program and first arguments that end in [`crate::guard::main`].
    pub(crate) guard: Option<&'a [OsString]>,
    /// Where.
    pub(crate) workdir: Option<&'a Path>,
    /// The file that is its standard input: a command that does not read it holds nobody up.
    pub(crate) stdin: &'a Path,
    /// What its environment has beyond the worker's.
    pub(crate) env: &'a [(&'static str, OsString)],
}

/// A running command. Dropping it kills its group.
#[derive(Debug)]
pub(crate) struct Process {
    group: Group,
    child: Child,
    stdout: Tail<ChildStdout>,
    stderr: Tail<ChildStderr>,
    /// The guard kills its group when this ends.
    _lifeline: Option<ChildStdin>,
}

impl Process {
    /// Starts a command as the leader of a new group; under a guard, the guard leads.
    ///
    /// # Errors
    /// When there is no such program or directory, or no room for one more process.
    pub(crate) fn spawn(launch: &Launch<'_>) -> io::Result<Self> {
        let mut line = Vec::from(launch.guard.unwrap_or_default());
        let stdin = if launch.guard.is_some() {
            line.extend([launch.stdin.into(), "--".into()]);
            Stdio::piped()
        } else {
            File::open(launch.stdin)?.into()
        };
        line.extend_from_slice(launch.command);
        let [program, args @ ..] = line.as_slice() else { return Err(io::ErrorKind::InvalidInput.into()) };
        let mut command = Command::new(program);
        command.args(args).env_remove(SECRET).envs(launch.env.iter().map(|(name, value)| (name, value)));
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        if let Some(workdir) = launch.workdir {
            command.current_dir(workdir);
        }
        let mut child = command.spawn()?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).ok_or(io::ErrorKind::NotFound)?;
        Ok(Self {
            group: Group { id: Pid::from_raw(pid), killed: false },
            stdout: Tail::new(child.stdout.take()),
            stderr: Tail::new(child.stderr.take()),
            _lifeline: child.stdin.take(),
            child,
        })
    }

    /// Asks the whole group to end.
    pub(crate) fn terminate(&self) {
        self.group.signal(Signal::SIGTERM);
    }

    /// Ends the whole group.
    pub(crate) fn kill(&self) {
        self.group.signal(Signal::SIGKILL);
    }

    /// Reads the pipes until the leader has exited, then ends what is left of its group.
    ///
    /// Dropping the future loses nothing; repeating it answers the same.
    ///
    /// # Errors
    /// When the system will not say how the leader ended.
    pub(crate) async fn exited(&mut self) -> io::Result<ExitStatus> {
        loop {
            tokio::select! {
                status = self.child.wait() => {
                    self.group.end();
                    return status;
                }
                () = self.stdout.fill() => {}
                () = self.stderr.fill() => {}
            }
        }
    }

    /// Reads what is left in the pipes after the leader has exited, and waits for its group to be gone; both for a
    /// bounded time.
    pub(crate) async fn finish(&mut self) {
        let rest = async { tokio::join!(self.stdout.finish(), self.stderr.finish()) };
        if timeout(AFTERMATH, rest).await.is_err() {
            tracing::warn!("a process that left its group still holds the output of an ended attempt");
        }
        if timeout(AFTERMATH, self.group.gone()).await.is_err() {
            tracing::warn!(group = %self.group.id, "a killed process group is still there");
        }
    }

    /// The tail of its standard output.
    pub(crate) fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// The tail of its standard error.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.text()
    }
}

/// A process group. Its id stays taken while a member lives, or its leader is not reaped.
#[derive(Debug)]
struct Group {
    id: Pid,
    /// The leader was reaped and the rest killed: the id may be another's from now on.
    killed: bool,
}

impl Group {
    fn signal(&self, signal: Signal) {
        if !self.killed
            && let Err(errno) = killpg(self.id, signal)
            && errno != Errno::ESRCH
        {
            tracing::warn!(group = %self.id, %signal, %errno, "could not signal a process group");
        }
    }

    fn end(&mut self) {
        self.signal(Signal::SIGKILL);
        self.killed = true;
    }

    /// Returns when no member is left.
    async fn gone(&self) {
        while killpg(self.id, None).is_ok() {
            sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.end();
    }
}

/// How a command ended, for people.
pub(crate) fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        // What a shell, and the guard, make of a signal.
        (Some(code @ 129..=192), _) => format!("exited with status {code} (signal {})", code - 128),
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use tokio::time::Instant;

    use super::*;

    struct Ran {
        status: ExitStatus,
        stdout: String,
        stderr: String,
    }

    fn spawn(script: &str, stdin: &Path) -> Process {
        let command = ["sh".into(), "-c".into(), script.into()];
        let env = [("AGENTIC_TASK_TITLE", "$(exit 9); `'\" ä\n".into())];
        Process::spawn(&Launch { command: &command, guard: None, workdir: None, stdin, env: &env }).unwrap()
    }

    async fn run(script: &str, stdin: &str) -> Ran {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), stdin).unwrap();
        let mut process = spawn(script, file.path());
        let status = ended(&mut process).await;
        gone(process.group.id).await;
        Ran { status, stdout: process.stdout(), stderr: process.stderr() }
    }

    async fn ended(process: &mut Process) -> ExitStatus {
        let ended = async {
            let status = process.exited().await.unwrap();
            let began = Instant::now();
            process.finish().await;
            assert!(
                members(process.group.id).is_empty() || began.elapsed() >= AFTERMATH,
                "it waits for the tree"
            );
            status
        };
        timeout(Duration::from_secs(20), ended).await.expect("it ends")
    }

    /// Waits until a group has as many processes as are wanted, zombies of a sleepy init aside.
    async fn until_members(group: Pid, wanted: usize) {
        for _ in 0..2_000 {
            if members(group).len() == wanted {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("the group has {:?}", members(group));
    }

    /// No process is left in the group; who was killed may need a moment to be scheduled and die.
    async fn gone(group: Pid) {
        until_members(group, 0).await;
    }

    fn members(group: Pid) -> Vec<PathBuf> {
        let entries = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
        entries.filter(|path| is_member(path, group).unwrap_or(false)).collect()
    }

    fn is_member(path: &Path, group: Pid) -> Option<bool> {
        let stat = fs::read_to_string(path.join("stat")).ok()?;
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let (state, pgrp) = (fields.next()?, fields.nth(1)?);
        Some(state != "Z" && pgrp == group.to_string())
    }

    #[tokio::test]
    async fn output_status_and_input() {
        let ran = run("cat; echo err >&2; exit 3", "{\"id\":\"t\"}\n").await;
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("{\"id\":\"t\"}\n", "err\n"));
        assert_eq!(describe(ran.status), "exited with status 3");
        assert!(run("exit 0", "").await.status.success());
        assert_eq!(describe(run("kill -9 $$", "").await.status), "was killed by signal 9");
        assert_eq!(describe(run("exit 143", "").await.status), "exited with status 143 (signal 15)");
    }

    #[tokio::test]
    async fn input_that_nobody_reads_holds_nobody_up() {
        let ran = run("echo done", &"x".repeat(1 << 20)).await;
        assert_eq!(ran.stdout, "done\n");
    }

    #[tokio::test]
    async fn a_title_is_data_and_never_a_command() {
        let ran = run("printf %s \"$AGENTIC_TASK_TITLE\"; tr '\\0' ' ' < /proc/$$/cmdline >&2", "").await;
        assert_eq!(ran.stdout, "$(exit 9); `'\" ä\n");
        assert!(!ran.stderr.contains("exit 9"), "{}", ran.stderr);
    }

    #[tokio::test]
    async fn much_output_on_both_streams_does_not_block() {
        let ran = run("yes out | head -c 3000000; yes err | head -c 3000000 >&2; echo last", "").await;
        assert!(ran.stdout.ends_with("out\nlast\n"), "{}", ran.stdout.len());
        assert_eq!((ran.stdout.len(), ran.stderr.len()), (crate::tail::LIMIT, crate::tail::LIMIT));
    }

    #[tokio::test]
    async fn children_end_with_their_leader() {
        let ran = run("trap '' TERM; (trap '' TERM; sleep 1000) & (sleep 1000 >&- 2>&-) & echo on", "").await;
        assert_eq!(ran.stdout, "on\n");
    }

    #[tokio::test]
    async fn a_process_that_left_the_group_does_not_hang_us() {
        let left = "until test \"$(cut -d' ' -f5 /proc/$!/stat)\" = $!; do :; done";
        let ran = run(&format!("setsid sleep 100 & {left}; echo $!"), "").await;
        let escaped = ran.stdout.trim().parse().unwrap();
        nix::sys::signal::kill(Pid::from_raw(escaped), Signal::SIGKILL).unwrap();
    }

    #[tokio::test]
    async fn a_tree_that_ignores_sigterm_is_killed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut process =
            spawn("trap '' TERM; sh -c 'trap \"\" TERM; echo up; sleep 1000'; sleep 1000", file.path());
        while !process.stdout().contains("up") {
            process.stdout.fill().await;
        }
        until_members(process.group.id, 3).await;
        process.terminate();
        assert!(timeout(Duration::from_millis(100), process.exited()).await.is_err());
        assert_eq!(members(process.group.id).len(), 3);
        process.kill();
        let status = ended(&mut process).await;
        assert_eq!(describe(status), "was killed by signal 9");
        gone(process.group.id).await;
    }

    #[tokio::test]
    async fn dropping_it_kills_the_tree() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut process = spawn("sleep 1000 & sleep 1000 & echo up; wait", file.path());
        process.stdout.fill().await;
        let group = process.group.id;
        assert_eq!(members(group).len(), 3);
        drop(process);
        let gone = async {
            while !members(group).is_empty() {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(20), gone).await.unwrap();
    }

    #[tokio::test]
    async fn a_missing_program_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let command = ["/no/such/program".into()];
        let launch = Launch { command: &command, guard: None, workdir: None, stdin: file.path(), env: &[] };
        assert_eq!(Process::spawn(&launch).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
