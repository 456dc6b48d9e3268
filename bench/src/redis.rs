//! A Redis to measure on: its server, what it counts, and what it can do by itself.

use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use agentic_store_redis::{RedisOptions, RedisStore, Safety};
use anyhow::{Context, Result};
use fred::{
    clients::Pool,
    interfaces::ClientLike,
    types::{Builder, ClusterHash, CustomCommand, Value, config::Config, scripts::Script},
};

use crate::timer::Timer;

/// How many connections share the commands, as of a store.
const POOL: usize = 4;
/// How many commands the server's log of slow ones keeps: more than one call runs.
const SLOWLOG: &str = "100000";
/// What a bare script writes with each of its commands.
const BODY: &str = "a value of thirty-two characters";
/// As many writes as the caller says.
const BARE: &str = "for i = 1, tonumber(ARGV[1]) do redis.call('HSET', KEYS[1], i, ARGV[2]) end return 1";

/// A server, and a fleet's prefix on it.
#[derive(Debug)]
pub(crate) struct Redis {
    /// The server, where it is our own; ended with this.
    server: Option<Child>,
    pub(crate) url: String,
    prefix: String,
    pool: Pool,
}

/// What a server counted so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    /// Scripts that were run: the round trips.
    pub(crate) scripts: f64,
    /// Commands that scripts ran.
    pub(crate) commands: f64,
    /// Microseconds of a core that the server's thread used.
    pub(crate) micros: f64,
}

impl Counts {
    /// What was counted since, for each of so many.
    pub(crate) fn since(self, before: Self, each: u32) -> Self {
        let each = f64::from(each);
        Self {
            scripts: (self.scripts - before.scripts) / each,
            commands: (self.commands - before.commands) / each,
            micros: (self.micros - before.micros) / each,
        }
    }
}

impl Redis {
    /// Starts `redis-server` in a directory, with its log of commands written out each second, or takes the server that
    /// the URL names.
    pub(crate) async fn start(url: Option<&str>, dir: &Path) -> Result<Self> {
        let (server, url) = match url {
            Some(url) => (None, url.to_owned()),
            None => spawn(dir).map(|(server, url)| (Some(server), url))?,
        };
        let pool = Builder::from_config(Config::from_url(&url)?).build_pool(POOL)?;
        let name = dir.file_name().context("a directory without a name")?.to_string_lossy();
        let prefix = format!("bench-{}", name.trim_start_matches('.'));
        let redis = Self { server, url, prefix, pool };
        redis.pool.init().await.context("cannot reach the redis-server")?;
        Ok(redis)
    }

    /// The process of the server, where it is our own.
    pub(crate) fn id(&self) -> Option<u32> {
        self.server.as_ref().map(Child::id)
    }

    /// A store on it.
    pub(crate) async fn store(&self) -> Result<RedisStore> {
        let options = RedisOptions::new().prefix(&self.prefix).safety(Safety::Warn);
        Ok(RedisStore::connect(&self.url, options).await?)
    }

    /// Runs a command that has no key.
    pub(crate) async fn command(&self, name: &'static str, args: &[&str]) -> Result<String> {
        let command = CustomCommand::new_static(name, ClusterHash::Random, false);
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        let answer: Value = self.pool.next().custom(command, args).await?;
        Ok(answer.into_string().unwrap_or_default())
    }

    /// What the server counted so far.
    pub(crate) async fn counts(&self) -> Result<Counts> {
        let mut counts = Counts::default();
        for line in self.command("INFO", &["commandstats"]).await?.lines() {
            let Some((name, rest)) =
                line.strip_prefix("cmdstat_").and_then(|line| line.split_once(":calls="))
            else {
                continue;
            };
            let calls: f64 = rest.split(',').next().unwrap_or_default().parse()?;
            match name {
                "evalsha" => counts.scripts += calls,
                "info" => {}
                _ => counts.commands += calls,
            }
        }
        for line in self.command("INFO", &["cpu"]).await?.lines() {
            if let Some((_, secs)) = line.split_once("_main_thread:") {
                counts.micros += secs.parse::<f64>()? * 1e6;
            }
        }
        Ok(counts)
    }

    /// Has the server log how long each script takes, for [`Redis::scripts`].
    pub(crate) async fn log_scripts(&self) -> Result<()> {
        self.command("CONFIG", &["SET", "slowlog-log-slower-than", "0"]).await?;
        self.command("CONFIG", &["SET", "slowlog-max-len", SLOWLOG]).await?;
        Ok(())
    }

    /// How long each script took that the server ran since the last time that it was asked, the latest first.
    pub(crate) async fn scripts(&self) -> Result<Vec<Duration>> {
        let command = CustomCommand::new_static("SLOWLOG", ClusterHash::Random, false);
        let logged: Vec<(i64, i64, u64, Vec<String>, String, String)> =
            self.pool.next().custom(command, vec!["GET", SLOWLOG]).await?;
        self.command("SLOWLOG", &["RESET"]).await?;
        let scripts = logged.into_iter().filter(|(_, _, _, words, ..)| {
            words.first().is_some_and(|name| name.eq_ignore_ascii_case("EVALSHA"))
        });
        Ok(scripts.map(|(_, _, micros, ..)| Duration::from_micros(micros)).collect())
    }

    /// Runs the bare script with so many commands in each of `trips` round trips a cycle, so many cycles in all, and
    /// answers how many a second, and what each cost the server.
    pub(crate) async fn bare(
        &self,
        trips: u32,
        commands: u32,
        cycles: u32,
        in_flight: u32,
    ) -> Result<(f64, Counts)> {
        let script = Script::from_lua(BARE);
        script.load(self.pool.next()).await?;
        let next = Arc::new(AtomicU32::new(0));
        let before = self.counts().await?;
        let timer = Timer::start();
        let mut lines = Vec::new();
        for line in 0..in_flight {
            let (pool, script, next) = (self.pool.clone(), script.clone(), Arc::clone(&next));
            let key = format!("{}:bare:{line}", self.prefix);
            lines.push(tokio::spawn(async move {
                while next.fetch_add(1, Ordering::Relaxed) < cycles {
                    for trip in 0..trips {
                        let part = commands / trips + u32::from(trip < commands % trips);
                        let args = vec![part.to_string(), BODY.to_owned()];
                        let _: Value = script.evalsha(pool.next(), vec![key.clone()], args).await?;
                    }
                }
                anyhow::Ok(())
            }));
        }
        for line in lines {
            line.await??;
        }
        let rate = timer.rate(cycles);
        Ok((rate, self.counts().await?.since(before, cycles)))
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let Some(server) = &mut self.server else { return };
        if let Err(error) = server.kill().and_then(|()| server.wait().map(drop)) {
            eprintln!("cannot end the redis-server: {error}");
        }
    }
}

/// A server on a free port, and its URL, as soon as it takes connections.
fn spawn(dir: &Path) -> Result<(Child, String)> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut server = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
        .args(["--appendonly", "yes", "--appendfsync", "everysec", "--dir"])
        .arg(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot run redis-server; install it, or name the URL of one with --redis")?;
    for _ in 0..200 {
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Ok((server, format!("redis://127.0.0.1:{port}/0")));
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    server.kill()?;
    server.wait()?;
    anyhow::bail!("redis-server does not listen")
}
