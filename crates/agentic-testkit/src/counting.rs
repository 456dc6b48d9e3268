//! Counting what reaches a back end.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use agentic_core::{
    error::{Error, Result},
    port::Ports,
    rpc::{Call, Transport, remote, serve},
};
use async_trait::async_trait;
use serde_json::Value;

/// Calls by method and by what they came to (`ok`, or the error's code).
pub type Counts = BTreeMap<(&'static str, &'static str), usize>;

/// What a call came to: `ok`, or the error's code.
pub(crate) fn code(answer: &Result<Value>) -> &'static str {
    answer.as_ref().map_or_else(Error::code, |_| "ok")
}

/// Ports that count their calls.
#[derive(Debug)]
pub struct Counting {
    inner: Ports,
    counts: Mutex<Counts>,
}

impl Counting {
    /// Puts a counter in front of `inner`: the ports to use, and the counter.
    pub fn new(inner: Ports) -> (Ports, Arc<Self>) {
        let counting = Arc::new(Self { inner, counts: Mutex::default() });
        (remote(Arc::clone(&counting) as _), counting)
    }

    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often a method was called so far, whatever came of it.
    pub fn calls(&self, method: &str) -> usize {
        self.counts().iter().filter(|((called, _), _)| *called == method).map(|(_, count)| count).sum()
    }
}

#[async_trait]
impl Transport for Counting {
    async fn call(&self, call: Call) -> Result<Value> {
        let method = call.method();
        let answer = serve(&self.inner, call).await;
        let counted = (method, code(&answer));
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(counted).or_default() += 1;
        answer
    }
}
