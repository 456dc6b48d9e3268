//! The local `redis-server`, installed where that can be done.

use std::{
    env, fs,
    process::{Command, Stdio},
};

use anyhow::{Result, bail};

use super::source::URL;
use crate::command;

/// Makes sure that tests find a Redis: the one that [`URL`] names, else a `redis-server` to start.
pub(crate) fn ensure() -> Result<()> {
    if env::var_os(URL).is_some() { Ok(()) } else { ensure_local() }
}

/// Makes sure that there is a `redis-server` to start.
pub(super) fn ensure_local() -> Result<()> {
    if is_there() {
        return Ok(());
    }
    if !is_root_on_debian() {
        bail!("redis-server is missing: apt-get install redis-server, or set {URL} to the URL of one");
    }
    eprintln!("redis-server is missing; installing it");
    command::run(Command::new("apt-get").args(["update", "-qq"]))?;
    let mut install = Command::new("apt-get");
    install.args(["install", "-y", "-qq", "--no-install-recommends", "redis-server"]);
    command::run(install.env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null()))
}

pub(super) fn is_there() -> bool {
    let mut asked = Command::new("redis-server");
    asked
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn is_root_on_debian() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
        && fs::exists("/etc/debian_version").unwrap_or(false)
}
