//! A fleet: the ports, the policy and the clock that every service works with.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use agentic_core::{
    attempt::Next,
    clock::{Clock, Timestamp},
    error::{Error, Result},
    id::AgentId,
    port::Ports,
    task::Task,
};

use crate::{
    agents::AgentService, allowances::AllowanceService, desk::Desk, dispatcher::Dispatcher, follow::Followed,
    limits::LimitBook, limits::LimitCache, outbox::Outbox, policy::Policy, reaper::Reaper, router::Router,
    shadow::ShadowBook, skips, tasks::TaskService,
};

/// How many expired attempts one look takes in.
const MAX_EXPIRED: usize = 10_000;

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
    desk: Arc<Desk>,
    /// Until then, agents with an expired and unreaped attempt are given no work.
    grace: Mutex<Timestamp>,
    /// What the last sweep of this server found away.
    trouble: Mutex<Option<Error>>,
    /// Which limits the running jobs follow.
    followed: Mutex<Followed>,
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
        let inner = Inner {
            ports,
            outboxes,
            clock,
            policy,
            limits: LimitCache::default(),
            shadows: ShadowBook::default(),
            jitter: Mutex::new(jitter),
            desk: Arc::default(),
            grace: Mutex::new(Timestamp::MIN),
            trouble: Mutex::default(),
            followed: Mutex::default(),
        };
        let fleet = Self { inner: Arc::new(inner) };
        // Whoever starts after an outage may look before the reaper's first sweep does.
        fleet.begin_grace();
        Ok(fleet)
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

    /// The store that the last sweep of this process's reapers found away or unable to write, if any; none before
    /// the first.
    pub fn trouble(&self) -> Option<Error> {
        self.inner.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn followed(&self) -> Followed {
        *self.inner.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_followed(&self, followed: Followed) {
        *self.inner.followed.lock().unwrap_or_else(PoisonError::into_inner) = followed;
    }

    pub(crate) fn set_trouble(&self, trouble: Option<Error>) {
        *self.inner.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// Where agents wait for work.
    pub(crate) fn desk(&self) -> &Arc<Desk> {
        &self.inner.desk
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

    /// Gives no work to `agent` until `until`, on any server of the fleet.
    pub(crate) async fn skip(&self, agent: &AgentId, until: Timestamp) -> Result<()> {
        skips::add(&*self.inner.ports.settings, agent, until, self.now()).await
    }

    /// Gives work to `agent` again.
    pub(crate) async fn unskip(&self, agent: &AgentId) -> Result<()> {
        skips::remove(&*self.inner.ports.settings, agent, self.now()).await
    }

    /// The agents that are given no work now.
    pub(crate) async fn skips(&self, now: Timestamp) -> Result<BTreeMap<AgentId, Timestamp>> {
        skips::read(&*self.inner.ports.settings, now).await
    }

    /// Lets agents with an expired attempt wait for work for two heartbeats from now: after an outage they first need
    /// to be heard.
    pub(crate) fn begin_grace(&self) {
        let until = self.now().plus(self.policy().heartbeat * 2);
        *self.inner.grace.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }

    /// As [`Fleet::begin_grace`], at least until `until`.
    pub(crate) fn extend_grace(&self, until: Timestamp) {
        let mut grace = self.inner.grace.lock().unwrap_or_else(PoisonError::into_inner);
        *grace = until.max(*grace);
    }

    fn in_grace(&self, now: Timestamp) -> bool {
        *self.inner.grace.lock().unwrap_or_else(PoisonError::into_inner) > now
    }

    /// The agents with an expired attempt, while they are to be heard before they are given work.
    pub(crate) async fn unheard(&self, now: Timestamp) -> Result<HashSet<AgentId>> {
        if !self.in_grace(now) {
            return Ok(HashSet::new());
        }
        let expired = self.inner.ports.tasks.expired(now, MAX_EXPIRED).await?;
        Ok(expired.into_iter().map(|(_, attempt)| attempt.agent_id).collect())
    }
}
