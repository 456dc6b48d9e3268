//! What the heartbeats of a large fleet cost a server and its Redis.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, MissedTickBehavior, interval_at},
};

use crate::{
    Args,
    process::{self, Server},
    redis::Redis,
    report::{Report, Target},
    timer::Timer,
};

/// How often each agent sends one.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Over so many connections that are kept.
const CONNECTIONS: u32 = 32;
/// The most that they may cost, in percent of a core.
const MOST: f64 = 10.0;

/// Registers [`Args::agents`] agents at a server, sends their heartbeats for [`Args::heartbeats`] seconds, and tells what
/// that cost.
///
/// # Errors
/// It cost more than it may: processor time, unlike a rate, hardly moves with what else the machine does.
pub(crate) async fn measure(args: &Args, report: &mut Report) -> Result<()> {
    let Some(agentic) = args.agentic.as_ref().filter(|_| args.redis.is_none()) else {
        eprintln!("no --agentic, or a Redis that is not our own: heartbeats are not measured");
        return Ok(());
    };
    eprintln!("heartbeats");
    let dir = tempfile::tempdir_in(&args.dir)?;
    let redis = Redis::start(None, dir.path()).await?;
    let server = Server::start(agentic, &redis.url, dir.path()).await?;
    let token = std::fs::read_to_string(dir.path().join("token"))?;
    let fleet = Fleet { address: server.address, token: token.trim().into(), agents: args.agents };
    fleet.register().await?;

    let pids = [server.id(), redis.id().context("the redis-server is another's")?];
    let used = || pids.map(process::cpu).into_iter().collect::<Result<Vec<f64>>>();
    let (before, counted, timer) = (used()?, redis.counts().await?, Timer::start());
    let sent = fleet.beat(Duration::from_secs(args.heartbeats.into())).await?;
    let (after, took) = (used()?, timer.elapsed().as_secs_f64());
    let each = redis.counts().await?.since(counted, sent);
    report.figure("heartbeats".to_owned(), f64::from(sent) / took, "/s", None, None);
    report.figure("heartbeats, round trips to Redis".to_owned(), each.scripts, "each", None, None);
    report.figure("heartbeats, commands".to_owned(), each.commands, "each", None, None);
    // As of the rate that was meant: a busy machine sends fewer.
    let behind = f64::from(args.agents) / HEARTBEAT.as_secs_f64() * took / f64::from(sent.max(1));
    let mut dear = Vec::new();
    for (who, (after, before)) in ["the server", "Redis"].into_iter().zip(after.into_iter().zip(before)) {
        let share = (after - before) / took * 100.0 * behind;
        let name = format!("heartbeats of {} agents, {who}, of a core", args.agents);
        report.figure(name, share, "%", Some(Target::AtMost(MOST)), None);
        if share > MOST {
            dear.push(who);
        }
    }
    ensure!(dear.is_empty(), "heartbeats cost {} more than {MOST} % of a core", dear.join(" and "));
    Ok(())
}

/// Agents that only live.
#[derive(Debug, Clone)]
struct Fleet {
    address: SocketAddr,
    token: Arc<str>,
    agents: u32,
}

impl Fleet {
    /// Registers all of them.
    async fn register(&self) -> Result<()> {
        let mut lines = Vec::new();
        for line in 0..CONNECTIONS {
            let fleet = self.clone();
            lines.push(tokio::spawn(async move {
                let mut stream = TcpStream::connect(fleet.address).await?;
                for agent in (line..fleet.agents).step_by(CONNECTIONS as usize) {
                    let body = format!(r#"{{"id":"agent-{agent:05}","capabilities":["rust"],"max_load":4}}"#);
                    fleet.post(&mut stream, "/api/agents", &body).await?;
                }
                anyhow::Ok(())
            }));
        }
        for line in lines {
            line.await??;
        }
        Ok(())
    }

    /// Sends each agent's heartbeat every [`HEARTBEAT`] for so long, evenly, and answers how many were sent.
    async fn beat(&self, time: Duration) -> Result<u32> {
        let sent = Arc::new(AtomicU32::new(0));
        let apart = HEARTBEAT * CONNECTIONS / self.agents;
        let begin = Instant::now();
        let mut lines = Vec::new();
        for line in 0..CONNECTIONS {
            let (fleet, sent) = (self.clone(), Arc::clone(&sent));
            lines.push(tokio::spawn(async move {
                let mut stream = TcpStream::connect(fleet.address).await?;
                let mut ticks = interval_at(begin + apart * line / CONNECTIONS, apart);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                let mut agents = (line..fleet.agents).step_by(CONNECTIONS as usize).cycle();
                while begin.elapsed() < time {
                    ticks.tick().await;
                    let agent = agents.next().context("no agents")?;
                    let path = format!("/api/agents/agent-{agent:05}/heartbeat");
                    fleet.post(&mut stream, &path, r#"{"incarnation":1,"attempts":[]}"#).await?;
                    sent.fetch_add(1, Ordering::Relaxed);
                }
                anyhow::Ok(())
            }));
        }
        for line in lines {
            line.await??;
        }
        Ok(sent.load(Ordering::Relaxed))
    }

    /// Sends one request over a connection that is kept, and reads its answer.
    async fn post(&self, stream: &mut TcpStream, path: &str, body: &str) -> Result<()> {
        let Self { address, token, .. } = self;
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        let mut answer = Vec::with_capacity(1_024);
        loop {
            ensure!(stream.read_buf(&mut answer).await? > 0, "the server closed a connection");
            let text = std::str::from_utf8(&answer).context("an answer that is no text")?;
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            ensure!(head.starts_with("HTTP/1.1 20"), "{path}: {head} {body}");
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.context("an answer without a length")?.parse()? {
                return Ok(());
            }
        }
    }
}
