//! Running two back ends side by side, and shrinking what parts them.

use std::fmt;

use agentic_core::{error::Result, memory::Memory, rpc::Call};
use futures_util::StreamExt as _;

use super::{
    calls::{all_reads, both},
    check::Watch,
    generate::Generator,
    tally::Tally,
};
use crate::{Fixture, given::t};

/// The environment variable that names the first seed to run, instead of the fixed ones.
pub const SEED_VAR: &str = "AGENTIC_TEST_SEED";
/// The environment variable that says how many seeds to run, each in a world of its own.
pub const WORLDS_VAR: &str = "AGENTIC_TEST_WORLDS";
/// The environment variable that says how many steps a seed runs.
pub const STEPS_VAR: &str = "AGENTIC_TEST_STEPS";

/// The most replays that shrinking takes.
const MAX_REPLAYS: usize = 400;
/// How many steps lie between two comparisons of everything.
const COMPARE_ALL: usize = 100;
/// How many reads of such a comparison are under way at once.
const AT_ONCE: usize = 16;

/// Which sequences to run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// One sequence each.
    pub seeds: Vec<u64>,
    /// Calls in a sequence.
    pub steps: usize,
}

impl Plan {
    /// Reads [`SEED_VAR`], [`WORLDS_VAR`] and [`STEPS_VAR`] through `variable`; without them, eight fixed seeds of 250
    /// steps, and of a seed that is named, one world.
    ///
    /// # Errors
    /// The name of a variable that is not a whole number.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> std::result::Result<Self, String> {
        let number = |name: &str| match variable(name).map(|text| text.parse::<u64>()) {
            None => Ok(None),
            Some(Ok(number)) => Ok(Some(number)),
            Some(Err(_)) => Err(format!("{name} must be a whole number")),
        };
        let seed = number(SEED_VAR)?;
        let worlds = number(WORLDS_VAR)?.unwrap_or(if seed.is_some() { 1 } else { 8 });
        let first = seed.unwrap_or(1);
        let seeds = (0..worlds).map(|world| first.wrapping_add(world)).collect();
        let steps = usize::try_from(number(STEPS_VAR)?.unwrap_or(250)).unwrap_or(usize::MAX);
        Ok(Self { seeds, steps })
    }
}

/// A sequence of calls on which two back ends part, or that breaks an invariant.
#[derive(Debug, Clone)]
pub struct Divergence {
    /// Where it was found.
    pub seed: u64,
    /// The shortest sequence that still shows it; the last call, or a read after it, shows it.
    pub calls: Vec<Call>,
    /// What was answered, or what broke.
    pub what: String,
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} ({SEED_VAR}), shrunk to {} calls:", self.seed, self.calls.len())?;
        for call in &self.calls {
            let json = serde_json::to_string(call).map_err(|_| fmt::Error)?;
            writeln!(f, "  {json}")?;
        }
        f.write_str(&self.what)
    }
}

/// Runs a plan on memory and another back end; tells what was run. The calls of a seed depend on memory alone, so every
/// back end that agrees with it was given the same ones, and gave the same answers.
///
/// # Errors
/// The first sequence on which they part.
pub async fn agrees_with_memory(
    plan: &Plan,
    other: impl AsyncFn() -> Fixture,
) -> std::result::Result<Tally, Box<Divergence>> {
    lockstep(plan, async || (Fixture::new(Memory::new().ports()), other().await)).await
}

/// Runs a plan on two back ends, in fresh worlds for each seed; tells what was run.
///
/// # Errors
/// The first sequence on which they part.
pub async fn lockstep(
    plan: &Plan,
    worlds: impl AsyncFn() -> (Fixture, Fixture),
) -> std::result::Result<Tally, Box<Divergence>> {
    let mut tally = Tally::default();
    for &seed in &plan.seeds {
        let (left, right) = worlds().await;
        let mut pair = Pair::new(&left, &right);
        let mut generator = Generator::new(seed);
        let mut calls = Vec::new();
        let mut parted = None;
        while parted.is_none() && calls.len() < plan.steps {
            parted = match generator.next(&left).await {
                Ok(call) => {
                    calls.push(call);
                    pair.step(&calls[calls.len() - 1]).await
                }
                Err(error) => Some(format!("the left back end could not be read: {error}")),
            };
        }
        if parted.is_none() {
            parted = pair.compare_all().await;
        }
        if let Some(what) = parted {
            return Err(Box::new(shrink(seed, calls, what, &worlds).await));
        }
        tally.add(pair.tally);
    }
    Ok(tally)
}

/// Runs kept calls on two back ends; says what parts them.
pub async fn replay(calls: &[Call], left: &Fixture, right: &Fixture) -> Option<String> {
    let mut pair = Pair::new(left, right);
    for call in calls {
        if let Some(what) = pair.step(call).await {
            return Some(what);
        }
    }
    pair.compare_all().await
}

/// Leaves out what can be left out: halves, quarters, …, single calls, until nothing can or the patience is used up.
async fn shrink(
    seed: u64,
    mut calls: Vec<Call>,
    mut what: String,
    worlds: &impl AsyncFn() -> (Fixture, Fixture),
) -> Divergence {
    let mut replays = 0;
    let mut chunk = calls.len().div_ceil(2);
    while chunk > 0 && replays < MAX_REPLAYS {
        let mut from = 0;
        let mut shorter = false;
        while from < calls.len() && replays < MAX_REPLAYS {
            let to = (from + chunk).min(calls.len());
            let tried = [&calls[..from], &calls[to..]].concat();
            let (left, right) = worlds().await;
            replays += 1;
            match replay(&tried, &left, &right).await {
                Some(still) => (calls, what, shorter) = (tried, still, true),
                None => from = to,
            }
        }
        if !shorter || chunk > 1 {
            chunk /= 2;
        }
    }
    Divergence { seed, calls, what }
}

/// Two back ends side by side.
#[derive(Debug)]
struct Pair<'a> {
    left: &'a Fixture,
    right: &'a Fixture,
    watch: Watch,
    tally: Tally,
    steps: usize,
    now: agentic_core::clock::Timestamp,
}

impl<'a> Pair<'a> {
    fn new(left: &'a Fixture, right: &'a Fixture) -> Self {
        Self { left, right, watch: Watch::default(), tally: Tally::default(), steps: 0, now: t(0) }
    }

    /// Does a call on both; says what parted them, or what it broke.
    async fn step(&mut self, call: &Call) -> Option<String> {
        self.steps += 1;
        self.now = call.now().unwrap_or(self.now).max(self.now);
        let (answer, parted) = both(self.left, self.right, call).await;
        if parted.is_some() {
            return parted;
        }
        if let Err(error) = self.tally.count(self.left, call, &answer).await {
            return told(Some(Err(error)));
        }
        let broken = told(self.watch.after(self.left, call, &answer).await.transpose());
        if broken.is_some() || !self.steps.is_multiple_of(COMPARE_ALL) {
            return broken;
        }
        self.compare_all().await
    }

    /// Reads everything from both; says what differs.
    async fn compare_all(&self) -> Option<String> {
        let reads = match all_reads(self.left, self.now).await {
            Ok(reads) => reads,
            Err(error) => return told(Some(Err(error))),
        };
        let compared = futures_util::stream::iter(reads).map(async |read| {
            let (_, parted) = both(self.left, self.right, &read).await;
            parted.map(|parted| format!("reading {read:?}\n{parted}"))
        });
        let mut parted = std::pin::pin!(compared.buffered(AT_ONCE).filter_map(std::future::ready));
        parted.next().await
    }
}

fn told(broken: Option<Result<String>>) -> Option<String> {
    broken
        .map(|broken| broken.unwrap_or_else(|error| format!("the left back end could not be read: {error}")))
}
