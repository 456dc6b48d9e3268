//! The process between a worker and its command that sees to it that no tree outlives a worker that was killed.
//!
//! The worker starts `GUARD… FILE -- COMMAND ARGS…`, where `GUARD…` is a program that calls [`main`]. The guard leads
//! the attempt's process group. Its standard input is a pipe that the worker holds open and never writes to: when it
//! ends, the worker is dead, and the guard kills its own group.

use std::{
    ffi::OsString,
    fs::File,
    io,
    os::{fd::AsFd, unix::process::ExitStatusExt},
    path::Path,
    process::{ExitCode, ExitStatus},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::{getpgrp, getpid},
};
use tokio::{
    io::AsyncReadExt,
    net::unix::pipe,
    process::Command,
    signal::unix::{SignalKind, signal},
};

/// Runs `command` with the file `input` as its standard input until it ends, or until this process' own standard input
/// does, and then kills the process group.
///
/// Answers with the command's exit status; 128 + n when signal n killed it, 126 when it could not be started. Must be
/// called in a process that leads its group, outside of an asynchronous runtime.
pub fn main(input: &Path, command: &[OsString]) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(guard(input, command))) {
        Ok(status) => ExitCode::from(code(status)),
        Err(error) => {
            let program = command.first().map(|program| program.display().to_string());
            eprintln!("could not run {:?}: {error}", program.unwrap_or_default());
            ExitCode::from(126)
        }
    }
}

async fn guard(input: &Path, command: &[OsString]) -> io::Result<ExitStatus> {
    let [program, args @ ..] = command else { return Err(io::ErrorKind::InvalidInput.into()) };
    if getpgrp() != getpid() {
        return Err(io::Error::other("the guard does not lead its process group; only a worker starts it"));
    }
    // Caught, not ignored: the group is signalled as a whole, and the guard stays for the command's grace and status.
    let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup(), SignalKind::quit()];
    let _caught = kinds.into_iter().map(signal).collect::<io::Result<Vec<_>>>()?;
    let lifeline = io::stdin().as_fd().try_clone_to_owned()?;
    let mut lifeline = pipe::Receiver::from_owned_fd(lifeline)?;
    let mut child = Command::new(program).args(args).stdin(File::open(input)?).spawn()?;
    let mut ignored = [0; 64];
    loop {
        tokio::select! {
            status = child.wait() => return status,
            read = lifeline.read(&mut ignored) => if !matches!(read, Ok(1..)) {
                killpg(getpgrp(), Signal::SIGKILL)?;
            }
        }
    }
}

fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
