//! A fleet: the ports, the policy and the clock that every service works with.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use agentic_core::{
    attempt::Next,
    clock::{Clock, Timestamp},
    error::Result,
    id::AgentId,
    port::Ports,
    task::Task,
};

use crate::{
    agents::AgentService, allowances::AllowanceService, dispatcher::Dispatcher, limits::LimitBook,
    limits::LimitCache, outbox::Outbox, policy::Policy, reaper::Reaper, router::Router, shadow::ShadowBook,
    tasks::TaskService,
};

/// A fleet; clones share it.
#[derive(Debug, Clone)]
pub struct Fleet {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    ports: Ports,
    outboxes: Vec<Outbox>,
    clock: Arc<dyn Clock>,
    policy: Policy,
    limits: LimitCache,
    shadows: ShadowBook,
    jitter: Mutex<fastrand::Rng>,
    /// Agents that are given no work until then: they did not start what they were given.
    skipped: Mutex<HashMap<AgentId, Timestamp>>,
    /// Until then, agents with an expired and unreaped attempt are given no work.
    grace: Mutex<Timestamp>,
}

impl Fleet {
    /// A fleet over these ports, which keep everything in one place.
    ///
    /// # Errors
    /// `Invalid` for a policy that cannot work.
    pub fn new(ports: Ports, clock: Arc<dyn Clock>, policy: Policy) -> Result<Self> {
        Self::apart(ports, Vec::new(), clock, policy)
    }

    /// A fleet whose agents or allowances live on other stores than its tasks: `outboxes` are what hands their events
    /// on, one a store. The ledger of such ports is a [`crate::Saga`].
    ///
    /// # Errors
    /// `Invalid` for a policy that cannot work.
    pub fn apart(ports: Ports, outboxes: Vec<Outbox>, clock: Arc<dyn Clock>, policy: Policy) -> Result<Self> {
        policy.validate()?;
        let jitter = policy.jitter_seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
        // Whoever starts after an outage may look before the reaper's first sweep does.
        let grace = Mutex::new(clock.now().plus(policy.heartbeat * 2));
        Ok(Self {
            inner: Arc::new(Inner {
                ports,
                outboxes,
                clock,
                policy,
                limits: LimitCache::default(),
                shadows: ShadowBook::default(),
                jitter: Mutex::new(jitter),
                skipped: Mutex::default(),
                grace,
            }),
        })
    }

    /// The ports.
    pub fn ports(&self) -> &Ports {
        &self.inner.ports
    }

    /// What hands on the events of other stores; somebody has to run each ([`Outbox::run`]).
    pub fn outboxes(&self) -> &[Outbox] {
        &self.inner.outboxes
    }

    /// The policy.
    pub fn policy(&self) -> &Policy {
        &self.inner.policy
    }

    /// The clock.
    pub fn clock(&self) -> &dyn Clock {
        &*self.inner.clock
    }

    /// The instant now.
    pub fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// What is done with tasks.
    pub fn tasks(&self) -> TaskService {
        TaskService::new(self.clone())
    }

    /// What is done with agents.
    pub fn agents(&self) -> AgentService {
        AgentService::new(self.clone())
    }

    /// What is done with allowances.
    pub fn allowances(&self) -> AllowanceService {
        AllowanceService::new(self.clone())
    }

    /// A dispatcher; any number of them may run.
    pub fn dispatcher(&self, router: Arc<dyn Router>) -> Dispatcher {
        Dispatcher::new(self.clone(), router)
    }

    /// A reaper; any number of them may run.
    pub fn reaper(&self) -> Reaper {
        Reaper::new(self.clone())
    }

    pub(crate) async fn limits(&self) -> Result<Arc<LimitBook>> {
        self.inner.limits.read(&*self.inner.ports.allowances).await
    }

    pub(crate) fn shadows(&self) -> &ShadowBook {
        &self.inner.shadows
    }

    /// What follows a failed attempt of `task`: another after backoff and at most 10 % of jitter, or none.
    pub(crate) fn after_failure(&self, task: &Task, now: Timestamp) -> Next {
        if task.retry_count >= task.max_retries {
            return Next::DeadLetter;
        }
        let permille = self.inner.jitter.lock().unwrap_or_else(PoisonError::into_inner).u32(0..=1_000);
        Next::RetryAt(now.plus(self.inner.policy.backoff.jittered(task.retry_count + 1, permille)))
    }

    /// Gives no work to `agent` until `until`.
    pub(crate) fn skip(&self, agent: &AgentId, until: Timestamp) {
        let mut skipped = self.inner.skipped.lock().unwrap_or_else(PoisonError::into_inner);
        skipped.insert(agent.clone(), until);
    }

    /// Whether `agent` is given no work now; forgets the skips that are over.
    pub(crate) fn skips(&self, now: Timestamp) -> Vec<AgentId> {
        let mut skipped = self.inner.skipped.lock().unwrap_or_else(PoisonError::into_inner);
        skipped.retain(|_, until| *until > now);
        skipped.keys().cloned().collect()
    }

    /// Lets agents with an expired attempt wait until `until` for work: after an outage they first need to be heard.
    pub(crate) fn set_grace(&self, until: Timestamp) {
        *self.inner.grace.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }

    pub(crate) fn in_grace(&self, now: Timestamp) -> bool {
        *self.inner.grace.lock().unwrap_or_else(PoisonError::into_inner) > now
    }
}
