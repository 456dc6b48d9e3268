//! The Redis that the tests run on: the one of `AGENTIC_TEST_REDIS_URL`, else one of their own.

use std::{
    fmt::Debug,
    ops::{Deref, DerefMut},
    time::Duration,
};

use agentic_store_redis::{RedisOptions, RedisStore, Safety};
use agentic_testkit::{
    Fixture,
    redis::{RedisServer, URL_VAR, fresh_name},
};
use fred::{
    interfaces::ClientLike,
    types::{Builder, ClusterHash, CustomCommand, Value, config::Config},
};

/// A server of a test, and commands to it.
#[derive(Debug)]
pub(crate) struct Server(RedisServer);

impl Server {
    /// Starts `redis-server` on a free port with more arguments.
    pub(crate) fn start(args: &[&str]) -> Self {
        Self(RedisServer::start(args))
    }

    /// Runs one command on a connection of its own.
    pub(crate) async fn command(&self, command: &'static str, args: &[&str]) -> Value {
        self.attempt(command, args).await.unwrap()
    }

    /// As [`Server::command`], of one that may fail.
    pub(crate) async fn attempt(
        &self,
        command: &'static str,
        args: &[&str],
    ) -> Result<Value, fred::error::Error> {
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
        for _ in 0..2_400 {
            match self.attempt(command, args).await {
                Ok(answer) if done(answer.as_str().as_deref().unwrap_or_default()) => return,
                other => last = Some(other),
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("{command} {args:?} answers {last:?}");
    }
}

impl Deref for Server {
    type Target = RedisServer;
    fn deref(&self) -> &RedisServer {
        &self.0
    }
}

impl DerefMut for Server {
    fn deref_mut(&mut self) -> &mut RedisServer {
        &mut self.0
    }
}

/// Options of a test: a prefix that nobody else has, on a server that need not be safe, and more patience than a machine
/// without a core to spare takes.
pub(crate) fn options() -> RedisOptions {
    let patience = Duration::from_mins(1);
    let options = RedisOptions::new().connect_timeout(patience).command_timeout(patience);
    options.prefix(format!("test-{}", fresh_name())).safety(Safety::Warn)
}

/// Connects as soon as the server answers.
pub(crate) async fn connect(url: &str, options: RedisOptions) -> RedisStore {
    let mut last = None;
    for _ in 0..2_400 {
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
