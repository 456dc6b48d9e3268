//! A home of its own for each test, and servers and workers in it.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tempfile::TempDir;

/// How long a command may take.
const PATIENCE: Duration = Duration::from_mins(2);

/// A home, a working directory and an empty environment.
pub(crate) struct Sandbox {
    directory: TempDir,
    variables: Vec<(String, String)>,
}

/// Where a server keeps its token below the home.
const TOKEN: &str = ".local/state/agentic/token";

/// What a command left.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("work")).unwrap();
        Self { directory, variables: Vec::new() }
    }

    /// With a variable for all its commands.
    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// The working directory.
    pub(crate) fn work(&self) -> PathBuf {
        self.directory.path().join("work")
    }

    /// A path below the home.
    pub(crate) fn home(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    /// Writes a file below the home, with the directories it needs.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.home(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// With the token that its server is to have.
    pub(crate) fn with_token(self, token: &str) -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        self.write(TOKEN, token);
        fs::set_permissions(self.home(TOKEN), fs::Permissions::from_mode(0o600)).unwrap();
        self
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_agentic"));
        command
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.directory.path())
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(self.work())
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Done {
        let output = assert_cmd::Command::from_std(self.command(args)).timeout(PATIENCE).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let (out, err) = (text(output.stdout), text(output.stderr));
        let Some(code) = output.status.code() else { panic!("{args:?} did not end: {out:?} {err:?}") };
        Done { code, out, err }
    }

    /// Runs a command that has to succeed; answers with its standard output.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let done = self.run(args);
        assert_eq!(done.code, 0, "{args:?}: {done:?}");
        done.out
    }

    /// Runs a command that has to succeed until it says what is waited for; answers what it said last.
    pub(crate) fn until(&self, args: &[&str], done: impl Fn(&str) -> bool) -> String {
        let mut said = String::new();
        for _ in 0..500 {
            said = self.ok(args);
            if done(&said) {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        said
    }

    /// Runs a command that has to succeed, for its JSON.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[&["--json"], args].concat())).unwrap()
    }

    /// Starts a server on a free port, in the default data directory; its log is `server.log` below the home.
    pub(crate) fn serve(self, args: &[&str]) -> Served {
        let log = fs::File::create(self.home("server.log")).unwrap();
        let mut child = self
            .command(&[&["--json", "serve", "--listen", "127.0.0.1:0"], args].concat())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let announced: Value = serde_json::from_str(&line).unwrap();
        let base_url = announced["base_url"].as_str().unwrap().to_owned();
        Served { sandbox: self.with("AGENTIC_BASE_URL", base_url), server: Running(child) }
    }
}

/// A server in a sandbox, and the sandbox with its address.
pub(crate) struct Served {
    pub(crate) sandbox: Sandbox,
    pub(crate) server: Running,
}

impl Served {
    /// Where it is.
    pub(crate) fn base_url(&self) -> String {
        let found = self.sandbox.variables.iter().rfind(|(name, _)| name == "AGENTIC_BASE_URL");
        found.unwrap().1.clone()
    }

    /// Its admin token.
    pub(crate) fn token(&self) -> String {
        fs::read_to_string(self.sandbox.home(TOKEN)).unwrap().trim().to_owned()
    }

    /// Starts a worker whose command is a shell script.
    pub(crate) fn worker(&self, args: &[&str], script: &str) -> Running {
        let log =
            fs::File::options().create(true).append(true).open(self.sandbox.home("workers.log")).unwrap();
        let args = [&["worker"], args, &["--", "sh", "-c", script]].concat();
        Running(self.sandbox.command(&args).stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }

    /// Waits until a task is over; answers with it.
    pub(crate) fn ended(&self, task: &str) -> Value {
        self.sandbox.ok(&["logs", task]);
        self.sandbox.json(&["show", task])
    }
}

/// A process that ends with the test.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.0.id()).unwrap()), signal).unwrap();
    }

    /// Tells it to end, and waits until it has.
    pub(crate) fn end(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.0.wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Reads events of a task until one of this kind comes.
pub(crate) fn until(sandbox: &Sandbox, task: &str, kind: &str) {
    let mut child = sandbox.command(&["--json", "logs", task]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let found = lines.any(|line| serde_json::from_str::<Value>(&line).unwrap()["type"] == kind);
    let _ = child.kill();
    let _ = child.wait();
    assert!(found, "{task} ended without {kind}");
}

/// Whether nobody but the owner may read a file.
pub(crate) fn is_private(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).unwrap().permissions().mode().trailing_zeros() >= 6
}
