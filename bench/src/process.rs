//! What the binary itself costs: its start, an idle server, and a server's start on a full file.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::{
    Args, raw,
    report::{Report, Target},
    timer::Timer,
    world::{Backend, FILE, World},
};

/// After how long a server that does not answer counts as broken.
const READY: Duration = Duration::from_mins(1);
/// How long an idle server is watched.
const WATCH: Duration = Duration::from_secs(5);
/// Clock ticks a second in `/proc`, on every Linux.
const TICKS: f64 = 100.0;

/// Measures the binary, if there is one to measure.
pub(crate) async fn measure(args: &Args, report: &mut Report) -> Result<()> {
    let Some(agentic) = &args.agentic else {
        eprintln!("no --agentic: the binary itself is not measured");
        return Ok(());
    };
    eprintln!("the binary");
    let mut version = Command::new(agentic);
    version.arg("--version");
    let start = raw::process(version)?;
    report.figure(
        "agentic --version, p50".to_owned(),
        start,
        "ms",
        Some(Target::AtMost(20.0)),
        Some(raw::PROCESS),
    );

    let empty = tempfile::tempdir_in(&args.dir)?;
    let server = Server::start(agentic, &file(empty.path()), empty.path()).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (busy, timer) = (cpu(server.id())?, Timer::start());
    tokio::time::sleep(WATCH).await;
    let share = (cpu(server.id())? - busy) / timer.elapsed().as_secs_f64() * 100.0;
    report.figure("idle server, of a core".to_owned(), share, "%", Some(Target::AtMost(1.0)), None);
    report.figure(
        "idle server, memory".to_owned(),
        server.resident()?,
        "MB",
        Some(Target::AtMost(50.0)),
        None,
    );
    drop(server);

    if args.backend.contains(&Backend::Sqlite) {
        let world = World::new(Backend::Sqlite, args).await?;
        world.tasks(0, args.waiting, None).await?;
        let full = world.close();
        let server = Server::start(agentic, &file(full.path()), full.path()).await?;
        let name = format!("server ready on {} tasks", args.waiting);
        report.figure(name, server.ready.as_secs_f64(), "s", Some(Target::AtMost(2.0)), None);
    }
    Ok(())
}

/// The URL of the store in a directory.
fn file(dir: &Path) -> String {
    format!("sqlite:{}", dir.join(FILE).display())
}

/// A server, ended with this.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    /// How long it took until it was ready.
    ready: Duration,
}

impl Server {
    /// Starts one on a store, with a directory for its own data, and answers when it is ready.
    pub(crate) async fn start(agentic: &Path, store: &str, dir: &Path) -> Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let timer = Timer::start();
        let child = Command::new(agentic)
            .args(["serve", "--listen", &address.to_string(), "--store", store, "--data-dir"])
            .arg(dir)
            .env_clear()
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot run agentic")?;
        let mut server = Self { child, address, ready: Duration::ZERO };
        while !answers(address) {
            if let Some(status) = server.child.try_wait()? {
                bail!("the server ended with {status}");
            }
            if timer.elapsed() > READY {
                bail!("the server does not answer");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server.ready = timer.elapsed();
        Ok(server)
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Megabytes that it holds.
    fn resident(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS in /proc")?;
        let kilobytes = line.split_whitespace().next().context("no VmRSS in /proc")?.parse::<f64>()?;
        Ok(kilobytes / 1_000.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait().map(drop)) {
            eprintln!("cannot end the server: {error}");
        }
    }
}

/// Seconds of a core that a process used so far.
pub(crate) fn cpu(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in brackets, may have spaces; user and system time are the 14th and 15th field.
    let (_, rest) = stat.rsplit_once(") ").context("/proc has no such process")?;
    let mut ticks = 0.0;
    for field in rest.split(' ').skip(11).take(2) {
        ticks += field.parse::<f64>()?;
    }
    Ok(ticks / TICKS)
}

/// Whether a server says that it is ready.
fn answers(address: SocketAddr) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(stream, "GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}
