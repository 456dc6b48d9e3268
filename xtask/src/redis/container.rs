//! A Redis in a container, held by a program of its own (`xtask/container`), which is built only where Docker answers.

use std::{
    env,
    io::{BufRead, BufReader, Read, Write},
    os::unix::{net::UnixStream, process::CommandExt},
    process::{Child, ChildStdin, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::{command, workspace};

const MANIFEST: &str = "xtask/container/Cargo.toml";
const SOCKET: &str = "/var/run/docker.sock";

/// The program that holds it; it removes the container when its standard input ends.
#[derive(Debug)]
pub(super) struct Container {
    holder: Child,
    lifeline: Option<ChildStdin>,
}

impl Container {
    /// Whether a Docker engine answers. One that is not on a socket of this machine is taken to.
    pub(super) fn has_engine() -> bool {
        let host = env::var("DOCKER_HOST").unwrap_or_else(|_| format!("unix://{SOCKET}"));
        let Some(socket) = host.strip_prefix("unix://") else { return true };
        let ask = || -> std::io::Result<String> {
            let mut engine = UnixStream::connect(socket)?;
            engine.set_read_timeout(Some(Duration::from_secs(5)))?;
            engine.write_all(b"GET /_ping HTTP/1.0\r\n\r\n")?;
            let mut answer = String::new();
            engine.take(1_024).read_to_string(&mut answer)?;
            Ok(answer)
        };
        ask().is_ok_and(|answer| answer.contains(" 200 "))
    }

    /// Builds the program, has it start a container, and waits for the URL.
    pub(super) fn start() -> Result<(Self, String)> {
        let target = workspace::target_dir()?.join("container");
        let mut build = command::cargo(["build", "--locked", "--quiet", "--manifest-path", MANIFEST]);
        command::run(build.arg("--target-dir").arg(&target))?;
        let mut holder = Command::new(target.join("debug/xtask-container"));
        // In a group of its own, an interrupt does not reach it: it is told by the end of its input, and tidies up.
        holder.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = holder.spawn().context("cannot run xtask-container")?;
        let output = holder.stdout.take().context("its output is piped")?;
        let lifeline = holder.stdin.take();
        let mut container = Self { holder, lifeline };
        let mut url = String::new();
        BufReader::new(output).read_line(&mut url)?;
        if url.is_empty() {
            let status = container.holder.wait()?;
            ensure!(status.success(), "xtask-container ended with {status}");
        }
        Ok((container, url.trim_end().to_owned()))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        drop(self.holder.wait());
    }
}
