//! A Redis for tests: a `redis-server` of their own.
#![expect(clippy::missing_panics_doc, reason = "a test that has no server fails by panicking")]

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
};

use crate::port::free_port;

/// The environment variable that names a Redis for tests, in the place of one of their own.
pub const URL_VAR: &str = "AGENTIC_TEST_REDIS_URL";

/// A server that ends with its handle, in a directory that ends with it too.
#[derive(Debug)]
pub struct RedisServer {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    /// Its URL.
    pub url: String,
    child: Child,
    args: Vec<String>,
    dir: PathBuf,
}

impl RedisServer {
    /// Starts `redis-server` on a free port with more arguments; it may take a moment until it answers.
    pub fn start(args: &[&str]) -> Self {
        let dir = std::env::temp_dir().join(format!("agentic-redis-{}", fresh_name()));
        fs::create_dir_all(&dir).expect("a directory for redis-server can be made");
        let port = free_port();
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        let child = spawn(port, &dir, &args);
        Self { port, url: format!("redis://127.0.0.1:{port}/0"), child, args, dir }
    }

    /// Sends a signal, as `kill` names it.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -{name}");
    }

    /// Kills it, and starts it again on the same port and directory.
    pub fn restart(&mut self) {
        self.kill();
        self.revive(&[]);
    }

    /// Kills it, as a loss of its process does.
    pub fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
    }

    /// Starts one that was killed again on what it wrote, from now on with more arguments.
    pub fn revive(&mut self, args: &[&str]) {
        self.args.extend(args.iter().map(|&arg| arg.to_owned()));
        self.child = spawn(self.port, &self.dir, &self.args);
    }

    /// Where it writes.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        drop(fs::remove_dir_all(&self.dir));
    }
}

/// A name that nothing else has on this machine or, by chance, on another: for a directory, or a prefix on a server
/// that is shared.
pub fn fresh_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{}-{count}-{:08x}", std::process::id(), fastrand::u32(..))
}

fn spawn(port: u16, dir: &Path, args: &[String]) -> Child {
    let port = port.to_string();
    let plain = ["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
    let spawned = Command::new("redis-server")
        .args(plain)
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    match spawned {
        Ok(child) => child,
        Err(error) if error.kind() == ErrorKind::NotFound => panic!(
            "these tests need a Redis: set {URL_VAR} to the URL of one, or install redis-server \
             (Debian: apt-get install redis-server)"
        ),
        Err(error) => panic!("redis-server cannot be started: {error}"),
    }
}
