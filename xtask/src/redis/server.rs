//! Local servers for the time of a test run.

use std::{
    fs,
    io::{self, Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Stdio, id},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::{command, port::free_port, workspace};

/// How often a server that starts is asked whether it answers, and the pause between.
const ASKED: (usize, Duration) = (2_400, Duration::from_millis(25));

/// Servers that end with this, and their files with them.
#[derive(Debug)]
pub(super) struct Servers {
    dir: PathBuf,
    running: Vec<Child>,
    ports: Vec<u16>,
}

impl Servers {
    /// One server, and its URL.
    pub(super) fn one() -> Result<(Self, String)> {
        let mut servers = Self::none()?;
        servers.start(&[])?;
        let url = format!("redis://127.0.0.1:{}/0", servers.ports[0]);
        Ok((servers, url))
    }

    /// A cluster of three nodes, and the URL that names them.
    pub(super) fn cluster() -> Result<(Self, String)> {
        let mut servers = Self::none()?;
        for _ in 0..3 {
            servers.start(&["--cluster-enabled", "yes"])?;
        }
        let nodes: Vec<String> = servers.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let mut create = Command::new("redis-cli");
        create.args(["--cluster", "create"]).args(&nodes).args(["--cluster-replicas", "0", "--cluster-yes"]);
        command::run(create.stdout(Stdio::null()))?;
        // Made is not yet up: a node serves no slot in the first two seconds of its life.
        for index in 0..servers.ports.len() {
            servers.wait(index, "CLUSTER INFO", "cluster_state:ok")?;
        }
        let url = format!("redis-cluster://{}?node={}&node={}", nodes[0], nodes[1], nodes[2]);
        Ok((servers, url))
    }

    fn none() -> Result<Self> {
        let dir = workspace::target_dir()?.join(format!("redis-{}", id()));
        Ok(Self { dir, running: Vec::new(), ports: Vec::new() })
    }

    fn start(&mut self, args: &[&str]) -> Result<()> {
        let port = free_port()?;
        let dir = self.dir.join(port.to_string());
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let mut server = Command::new("redis-server");
        server.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        server.args(args).current_dir(dir).stdin(Stdio::null()).stdout(Stdio::null());
        self.running.push(server.spawn().context("cannot start redis-server")?);
        self.ports.push(port);
        self.wait(self.ports.len() - 1, "PING", "+PONG")
    }

    /// Waits until a server answers a command with a text.
    fn wait(&mut self, index: usize, command: &str, text: &str) -> Result<()> {
        let port = self.ports[index];
        for _ in 0..ASKED.0 {
            if answers(port, command, text).unwrap_or(false) {
                return Ok(());
            }
            if let Some(status) = self.running[index].try_wait()? {
                bail!("redis-server ended with {status}");
            }
            thread::sleep(ASKED.1);
        }
        bail!("redis-server on port {port} does not answer {command} with {text}")
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for server in &mut self.running {
            drop(server.kill());
            drop(server.wait());
        }
        drop(fs::remove_dir_all(&self.dir));
    }
}

/// Whether the beginning of an answer has a text in it.
fn answers(port: u16, command: &str, text: &str) -> io::Result<bool> {
    let mut server = TcpStream::connect(("127.0.0.1", port))?;
    server.set_read_timeout(Some(Duration::from_secs(1)))?;
    server.write_all(format!("{command}\r\n").as_bytes())?;
    let mut answer = [0; 64];
    let length = server.read(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..length]).contains(text))
}
