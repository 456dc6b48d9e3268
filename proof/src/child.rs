//! What the processes do that race or die.

use std::{
    convert::Infallible,
    io::{BufRead, Write, stdin, stdout},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use agentic_core::{
    error::{Error, Result as PortResult},
    port::Ports,
    rpc::{Call, Transport, remote, serve},
};
use anyhow::{Context, Result};
use async_trait::async_trait;
use clap::{Subcommand, ValueEnum};
use nix::sys::signal::{Signal, raise};
use serde_json::Value;

use crate::{
    admitters::Round,
    failpoints::{Step, compose, perform},
    place::Address,
};

/// Tries of an admission whose answer was lost; each is the same admission.
const TRIES: usize = 50;

/// Which role.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Reads a round a line, races in it, and answers with how many got in.
    Admit {
        address: Address,
        /// Which process this is.
        process: u32,
        /// How many race here.
        admitters: u32,
    },
    /// Does one step, and dies before the `at`-th call or statement of it.
    Step { step: Step, point: Point, at: u64, tasks: Address, allowances: Option<Address> },
}

/// Between which steps a process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Point {
    /// Calls of the ports.
    Call,
    /// Statements of the SQLite writers.
    Statement,
}

/// Plays a role.
pub(crate) async fn run(args: Args) -> Result<()> {
    match args.role {
        Role::Admit { address, process, admitters } => admit(&address, process, admitters).await,
        Role::Step { step, point, at, tasks, allowances } => {
            AT.store(at, Ordering::Relaxed);
            let tasks = open(&tasks, point).await?;
            let allowances = match &allowances {
                Some(address) => Some(open(address, point).await?),
                None => None,
            };
            ARMED.store(true, Ordering::Relaxed);
            perform(&compose(tasks, allowances), step).await?;
            // It was done and nobody heard of it: the last point.
            count();
            Ok(())
        }
    }
}

/// Which point is the last one reached, from 1 on.
static AT: AtomicU64 = AtomicU64::new(0);
static REACHED: AtomicU64 = AtomicU64::new(0);
static ARMED: AtomicBool = AtomicBool::new(false);

/// Passes a point, or dies at it.
fn count() {
    if ARMED.load(Ordering::Relaxed)
        && REACHED.fetch_add(1, Ordering::Relaxed) + 1 == AT.load(Ordering::Relaxed)
    {
        let Err(error): Result<Infallible, _> = die();
        eprintln!("cannot die: {error}");
    }
}

/// Ends this process at once, as `kill -9` does.
fn die() -> Result<Infallible, nix::Error> {
    raise(Signal::SIGKILL)?;
    loop {
        std::thread::park();
    }
}

async fn open(address: &Address, point: Point) -> Result<Ports> {
    match point {
        Point::Statement => address.open(Some(|_| count())).await,
        Point::Call => Ok(remote(Arc::new(Counted(address.open(None).await?)))),
    }
}

/// Ports that pass a point before each call.
#[derive(Debug)]
struct Counted(Ports);

#[async_trait]
impl Transport for Counted {
    async fn call(&self, call: Call) -> PortResult<Value> {
        count();
        serve(&self.0, call).await
    }
}

async fn admit(address: &Address, process: u32, admitters: u32) -> Result<()> {
    let ports = address.open(None).await?;
    for line in stdin().lock().lines() {
        let round: Round = serde_json::from_str(&line?)?;
        let racing: Vec<_> = (0..admitters)
            .map(|number| {
                let (ports, round) = (ports.clone(), round.clone());
                tokio::spawn(async move { enter(&ports, &round, process, number).await })
            })
            .collect();
        let mut admitted = 0;
        for racer in racing {
            admitted += u32::from(racer.await??);
        }
        writeln!(stdout(), "{admitted}")?;
        stdout().flush().context("nobody listens")?;
    }
    Ok(())
}

/// Whether one admitter got in.
async fn enter(ports: &Ports, round: &Round, process: u32, number: u32) -> Result<bool> {
    let admission = round.admission(process, number);
    let mut tries = 0;
    loop {
        match ports.allowances.admit(admission.clone()).await {
            Ok(_) => return Ok(true),
            Err(Error::Refused(_)) => return Ok(false),
            Err(error) if error.is_retryable() && tries < TRIES => tries += 1,
            Err(error) => return Err(error.into()),
        }
    }
}
