//! The Redis that the tests run on: the one of `AGENTIC_TEST_REDIS_URL`, else one of their own.

use std::{
    fmt::Debug,
    io::ErrorKind,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use agentic_store_redis::{RedisOptions, RedisStore, Safety};
use agentic_testkit::Fixture;
use fred::{
    interfaces::ClientLike,
    types::{Builder, ClusterHash, CustomCommand, Value, config::Config},
};
use tempfile::TempDir;

const URL_VAR: &str = "AGENTIC_TEST_REDIS_URL";

/// A server that ends with its handle, in a directory that ends with it too.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
    pub(crate) url: String,
    args: Vec<String>,
    dir: TempDir,
}

impl Server {
    /// Starts `redis-server` on a free port with more arguments.
    pub(crate) fn start(args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        let child = spawn(port, dir.path(), &args);
        Self { child, port, url: format!("redis://127.0.0.1:{port}/0"), args, dir }
    }

    /// Sends a signal, as `kill` names it.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(sent.unwrap().success(), "kill -{name}");
    }

    /// Kills it, and starts it again on the same port and directory.
    pub(crate) fn restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = spawn(self.port, self.dir.path(), &self.args);
    }

    /// Runs one command on a connection of its own.
    pub(crate) async fn command(&self, command: &'static str, args: &[&str]) -> Value {
        self.attempt(command, args).await.unwrap()
    }

    async fn attempt(&self, command: &'static str, args: &[&str]) -> Result<Value, fred::error::Error> {
        let mut config = Config::from_url(&self.url)?;
        config.fail_fast = true;
        let client = Builder::from_config(config).build()?;
        client.init().await?;
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        let command = CustomCommand::new_static(command, ClusterHash::Random, false);
        let answer = client.custom(command, args).await;
        client.quit().await?;
        answer
    }

    /// Runs a command until its answer is the one that is waited for.
    pub(crate) async fn until(&self, command: &'static str, args: &[&str], done: impl Fn(&str) -> bool) {
        let mut last = None;
        for _ in 0..400 {
            match self.attempt(command, args).await {
                Ok(answer) if done(answer.as_str().as_deref().unwrap_or_default()) => return,
                other => last = Some(other),
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("{command} {args:?} answers {last:?}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
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

/// Options of a test: a prefix that nobody else has, on a server that need not be safe.
pub(crate) fn options() -> RedisOptions {
    static WORLDS: AtomicU64 = AtomicU64::new(0);
    let world = WORLDS.fetch_add(1, Ordering::Relaxed);
    let process = std::process::id();
    let chance = tempfile::Builder::new().prefix("").tempfile().unwrap();
    let chance =
        chance.path().file_name().unwrap().to_string_lossy().replace(|c: char| !c.is_alphanumeric(), "");
    RedisOptions::new().prefix(format!("test-{process}-{world}-{chance}")).safety(Safety::Warn)
}

/// Connects as soon as the server answers.
pub(crate) async fn connect(url: &str, options: RedisOptions) -> RedisStore {
    let mut last = None;
    for _ in 0..200 {
        match RedisStore::connect(url, options.clone()).await {
            Ok(store) => return store,
            // A server that was just started is not there at once.
            Err(error) if error.is_retryable() => last = Some(error),
            Err(error) => panic!("{url}: {error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{url} does not answer: {last:?}");
}

/// A fleet of its own, on a server of its own unless one is given.
pub(crate) async fn world() -> Fixture {
    let own = std::env::var(URL_VAR).is_err().then(|| Server::start(&[]));
    let url = own.as_ref().map_or_else(|| std::env::var(URL_VAR).unwrap(), |server| server.url.clone());
    let store = connect(&url, options()).await;
    Fixture::new(store.ports()).holding((store, own))
}
