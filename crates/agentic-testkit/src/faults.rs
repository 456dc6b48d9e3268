//! Back ends that are away now and then.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use agentic_core::{
    error::{Error, Result},
    port::Ports,
    rpc::{Call, Transport, remote, serve},
};
use async_trait::async_trait;
use serde_json::Value;

/// How often a back end is away, in calls of a thousand, and the seed that decides when.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Decides which calls fail.
    pub seed: u64,
    /// `Unavailable` instead of the call.
    pub before: u32,
    /// `Unavailable` although the call was done: what a timeout looks like.
    pub after: u32,
}

/// Ports that fail as `faults` say; every method of every port passes through [`agentic_core::rpc`], where one that
/// is missing does not compile.
#[derive(Debug)]
pub struct Faulty {
    inner: Ports,
    faults: Faults,
    rng: Mutex<fastrand::Rng>,
    before: AtomicUsize,
    after: AtomicUsize,
}

impl Faulty {
    /// Puts faults in front of `inner`: the ports to use, and what tells how many there were.
    pub fn new(inner: Ports, faults: Faults) -> (Ports, Arc<Self>) {
        let rng = Mutex::new(fastrand::Rng::with_seed(faults.seed));
        let (before, after) = Default::default();
        let port = Arc::new(Self { inner, faults, rng, before, after });
        (remote(Arc::clone(&port) as _), port)
    }

    /// How many calls failed so far: undone, and done.
    pub fn injected(&self) -> (usize, usize) {
        (self.before.load(Ordering::Relaxed), self.after.load(Ordering::Relaxed))
    }

    fn dice(&self) -> u32 {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner).u32(0..1_000)
    }
}

#[async_trait]
impl Transport for Faulty {
    async fn call(&self, call: Call) -> Result<Value> {
        let dice = self.dice();
        let away = || Err(Error::unavailable("the back end (an injected fault)"));
        if dice < self.faults.before {
            self.before.fetch_add(1, Ordering::Relaxed);
            return away();
        }
        let answer = serve(&self.inner, call).await;
        if dice < self.faults.before.saturating_add(self.faults.after) {
            self.after.fetch_add(1, Ordering::Relaxed);
            return away();
        }
        answer
    }
}
