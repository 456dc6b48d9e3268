//! The store: a pool of connections, and the scripts that run over it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use agentic_core::{
    clock::Clock,
    error::{Error, Result},
    event::EventId,
    port::Ports,
};
use fred::{
    clients::{Client, Pool},
    error::ErrorKind,
    interfaces::{ClientLike, EventInterface},
    types::{
        Builder, ClusterHash, CustomCommand, Value,
        config::{ReconnectPolicy, UnresponsiveConfig},
        scripts::Script,
    },
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

use crate::{
    args::Args,
    checks,
    clock::{self, RedisClock},
    error::{about, storage},
    heartbeats::{self, Waiting},
    options::RedisOptions,
    reply::{Reply, misshapen},
    trouble::{self, Trouble},
    url,
};

/// The most steps in which one call sees reservations run out, 50 a step.
const MAX_SWEEPS: usize = 40_000;

/// How many fields of a hash one step of a walk looks at.
const WALK: &str = "1000";

/// Every port of one fleet on one Redis; clones share it.
#[derive(Debug, Clone)]
pub struct RedisStore {
    pub(crate) inner: Arc<Inner>,
}

/// What the clones share.
#[derive(Debug)]
pub(crate) struct Inner {
    pool: Pool,
    trouble: Arc<Trouble>,
    root: String,
    builder: Builder,
    pub(crate) options: RedisOptions,
    pub(crate) heartbeats: mpsc::Sender<Waiting>,
    pub(crate) newest: watch::Sender<EventId>,
    pub(crate) follower: Mutex<Option<JoinHandle<()>>>,
}

/// What a script answered.
#[derive(Debug)]
pub(crate) enum Answer {
    /// It was done, or read.
    Ok(Reply),
    /// There is no such thing.
    NotFound,
    /// It was refused on these rows.
    Refused(Reply),
    /// The fence kept it for review, on these rows.
    Late(Reply),
    /// A limit has no room: the limit and its figures.
    Full(Reply),
    /// More reservations ran out than one step may move: it is to be run once more.
    Again,
    /// What only one script says, by its word.
    Said(Reply),
}

impl Answer {
    /// What a script answered, by its first word.
    pub(crate) fn of(mut reply: Reply) -> Result<Self> {
        match reply.text()?.as_str() {
            "ok" => Ok(Self::Ok(reply)),
            "nf" => Ok(Self::NotFound),
            "no" => Ok(Self::Refused(reply)),
            "late" => Ok(Self::Late(reply)),
            "full" => Ok(Self::Full(reply)),
            "again" => Ok(Self::Again),
            _ => Ok(Self::Said(reply)),
        }
    }

    /// The answer of a script that refuses nothing.
    pub(crate) fn ok(self) -> Result<Reply> {
        match self {
            Self::Ok(reply) => Ok(reply),
            other => Err(misshapen(format_args!("it was not expected: {other:?}"))),
        }
    }
}

impl RedisStore {
    /// Connects to a server and checks it.
    ///
    /// The URL is `redis://[user:password@]host[:port][/database]`; `rediss://` is TLS;
    /// `redis-cluster://host:port?node=host:port`; `redis-sentinel://host:port/database?sentinelServiceName=NAME`.
    ///
    /// # Errors
    /// `Invalid` for a URL or a prefix that is none; `Unsupported` for a server that [`RedisOptions::safety`] refuses;
    /// `Unavailable` where there is no server.
    pub async fn connect(url: &str, options: RedisOptions) -> Result<Self> {
        let config = url::parse(url)?;
        let root = root(&options.prefix, config.server.is_clustered())?;
        let mut builder = Builder::from_config(config);
        builder.set_policy(ReconnectPolicy::new_exponential(0, 50, 2_000, 2));
        let (connect, command) = (options.connect_timeout, options.command_timeout);
        builder.with_connection_config(|config| {
            config.connection_timeout = connect;
            config.internal_command_timeout = connect;
            config.max_command_attempts = 1;
            // A script names no key that exists, so that a node that gives its slot away answers each with ASK, and the
            // next one would run it beside half of the fleet. With none left, fred still learns the slots from a MOVED.
            config.max_redirections = 0;
        });
        let follower = builder.clone();
        builder.with_connection_config(|config| {
            config.unresponsive =
                UnresponsiveConfig { max_timeout: Some(command * 2), interval: command / 2 };
        });
        builder.with_performance_config(|config| config.default_command_timeout = command);
        builder.with_config(|config| config.fail_fast = true);
        let failed = |error| about("redis", error);
        let pool = builder.build_pool(options.pool).map_err(failed)?;
        let opening = tokio::time::timeout(connect, pool.init());
        opening.await.map_err(|_| Error::unavailable("redis"))?.map_err(failed)?;
        checks::check(pool.next(), &root, options.safety).await?;
        let trouble = Arc::new(Trouble::default());
        for client in pool.clients() {
            tokio::spawn(trouble::listen(client.error_rx(), client.reconnect_rx(), Arc::downgrade(&trouble)));
        }
        let (heartbeats, waiting) = heartbeats::queue();
        let inner = Arc::new(Inner {
            pool,
            trouble,
            root,
            builder: follower,
            options,
            heartbeats,
            newest: watch::Sender::new(0),
            follower: Mutex::new(None),
        });
        tokio::spawn(heartbeats::follow(waiting, Arc::downgrade(&inner)));
        Ok(Self { inner })
    }

    /// The ports onto it.
    pub fn ports(&self) -> Ports {
        let port = Arc::new(self.clone());
        Ports {
            tasks: Arc::clone(&port) as _,
            agents: Arc::clone(&port) as _,
            allowances: Arc::clone(&port) as _,
            events: Arc::clone(&port) as _,
            settings: Arc::clone(&port) as _,
            ledger: port,
        }
    }

    /// The server's clock: what several servers of one fleet take `now` from, whatever their own clocks say.
    ///
    /// # Errors
    /// `Unavailable` when it cannot be read for the first time; later it goes on by this machine's monotonic clock.
    pub async fn clock(&self) -> Result<Arc<dyn Clock>> {
        let clock = Arc::new(RedisClock::start(self).await?);
        tokio::spawn(clock::follow(Arc::clone(&clock), Arc::downgrade(&self.inner)));
        Ok(clock)
    }

    /// Runs a script until it has decided.
    pub(crate) async fn run(&self, script: &Script, args: Args) -> Result<Answer> {
        let values = args.into_values();
        for _ in 0..MAX_SWEEPS {
            let (keys, values) = (vec![self.inner.root.clone()], values.clone());
            let answer = script.evalsha_with_reload(self.inner.pool.next(), keys, values).await;
            match Answer::of(Reply::of(answer.map_err(|error| self.inner.failed(error))?)?)? {
                Answer::Again => {}
                decided => return Ok(decided),
            }
        }
        Err(Error::unavailable("redis, busy with reservations that ran out,"))
    }

    /// As [`RedisStore::run`], of a script that refuses nothing.
    pub(crate) async fn ask(&self, script: &Script, args: Args) -> Result<Reply> {
        self.run(script, args).await?.ok()
    }

    /// Runs one command that reads one key.
    pub(crate) async fn command(&self, name: &'static str, key: &str, args: &[&str]) -> Result<Value> {
        self.inner.command(self.inner.pool.next(), name, key, args).await
    }

    /// Reads the fields of a hash that match a pattern, in bounded steps; what changes meanwhile is read before or after.
    pub(crate) async fn walk(&self, key: &str, pattern: &str) -> Result<BTreeMap<String, String>> {
        let mut fields = BTreeMap::new();
        let mut cursor = "0".to_owned();
        loop {
            let part = self.command("HSCAN", key, &[&cursor, "MATCH", pattern, "COUNT", WALK]).await?;
            let mut part = Reply::of(part)?;
            cursor = part.text()?;
            let mut found = part.list()?;
            while !found.is_empty() {
                fields.insert(found.text()?, found.text()?);
            }
            if cursor == "0" {
                return Ok(fields);
            }
        }
    }
}

impl Inner {
    pub(crate) fn key(&self, name: &str) -> String {
        format!("{}{name}", self.root)
    }

    pub(crate) async fn command(
        &self,
        client: &Client,
        name: &'static str,
        key: &str,
        args: &[&str],
    ) -> Result<Value> {
        let command = CustomCommand::new_static(name, ClusterHash::FirstKey, false);
        let args: Vec<String> =
            std::iter::once(self.key(key)).chain(args.iter().map(|&arg| arg.to_owned())).collect();
        client.custom(command, args).await.map_err(|error| self.failed(error))
    }

    fn failed(&self, error: fred::error::Error) -> Error {
        storage(self.trouble.explain(error))
    }

    /// Nothing was answered, and why, as far as that is known.
    pub(crate) fn silent(&self, what: &'static str) -> Error {
        self.failed(fred::error::Error::new(ErrorKind::Timeout, what))
    }

    /// A connection of its own, for commands that wait.
    pub(crate) async fn waiting_client(&self) -> Result<Client> {
        let client = self.builder.build().map_err(storage)?;
        client.init().await.map_err(storage)?;
        Ok(client)
    }
}

impl Drop for Inner {
    /// Says goodbye to the server; where no runtime is left, the connections end with their process.
    fn drop(&mut self) {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let pool = self.pool.clone();
            runtime.spawn(async move { drop(pool.quit().await) });
        }
    }
}

/// What stands in front of every key; on a cluster a hash tag.
fn root(prefix: &str, clustered: bool) -> Result<String> {
    let inside = prefix.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(prefix);
    let good = |c: char| c.is_ascii_alphanumeric() || "._:-".contains(c);
    if inside.is_empty() || inside.len() > 100 || !inside.chars().all(good) {
        return Err(Error::invalid("prefix", "must be 1 to 100 of A-Z a-z 0-9 . _ : -, in braces or not"));
    }
    if clustered { Ok(format!("{{{inside}}}:")) } else { Ok(format!("{prefix}:")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_hash_tag_on_a_cluster() {
        assert_eq!(root("agentic", false).unwrap(), "agentic:");
        assert_eq!(root("agentic", true).unwrap(), "{agentic}:");
        assert_eq!(root("{agentic}", false).unwrap(), "{agentic}:");
        assert_eq!(root("{agentic}", true).unwrap(), "{agentic}:");
        for bad in ["", "{}", "a b", "{a", "a}b", "x{a}", &"x".repeat(101)] {
            assert!(root(bad, true).is_err(), "{bad}");
            assert!(root(bad, false).is_err(), "{bad}");
        }
    }
}
