//! The dispatcher: gives ready tasks to fit agents that have room.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use agentic_core::{
    agent::AgentInfo,
    attempt::Ending,
    clock::Timestamp,
    error::{ConflictCode, Error, Result},
    event::{Event, EventId, EventType, NewEvent},
    id::{AgentId, JobId, ModelName, TaskId},
    lane::{Head, Lane, Park},
    limit::{Refusal, Scope},
    port::{Claim, Defer, EndAttempt, ParkLane, Unpark, Wake},
    task::{PendingReason, Priority, Task},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    fleet::Fleet,
    limits::{Plan, Subject},
    policy::Undispatchable,
    pool::{Pool, Refused, Wanted},
    router::{Need, NoEligibleAgent, Router},
    tasks::{Request, quota_reason},
};

/// How many lanes one tick looks at.
const MAX_LANES: usize = 10_000;
/// How many tasks of one lane are read at once.
const REFILL: usize = 64;
/// How many due tasks one step moves into their lanes, and how many such steps a tick takes.
const PROMOTE: (usize, usize) = (1_000, 16);
/// How many tasks one tick tries before it looks at the world anew.
const MAX_TRIED: usize = 1_000;
/// How many agents are refused one by one before all who are left are asked at once.
const ONE_BY_ONE: usize = 50;
/// How many events one look at the log brings.
const PAGE: usize = 256;
/// How long a task waits that was refused for itself, where no time can be computed.
const DEFERRAL: Duration = Duration::from_mins(1);
/// How long it waits at most: a raised limit or a new agent does not wake it.
const LONGEST_DEFERRAL: Duration = Duration::from_mins(10);

/// What one tick did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tick {
    /// Tasks given to agents.
    pub dispatched: usize,
    /// Lanes that nobody can take now.
    pub parked: usize,
    /// Tasks that their own ask keeps from an agent with room.
    pub deferred: usize,
    /// It stopped at its bound; more may be dispatched at once.
    pub more: bool,
}

/// Why a task was not dispatched.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DispatchError {
    /// Nobody fits, or all who fit are at capacity.
    #[error(transparent)]
    NoEligibleAgent(#[from] NoEligibleAgent),
    /// Limits refused every agent that fits; one of the refusals.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] Error),
}

/// Gives ready tasks to agents. Any number may run on one fleet.
#[derive(Debug)]
pub struct Dispatcher {
    fleet: Fleet,
    router: Arc<dyn Router>,
    errors: AtomicU64,
}

impl Dispatcher {
    pub(crate) fn new(fleet: Fleet, router: Arc<dyn Router>) -> Self {
        Self { fleet, router, errors: AtomicU64::new(0) }
    }

    /// How many ticks, and waits between them, failed so far.
    pub fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// Gives one task to an agent, and answers which.
    ///
    /// # Errors
    /// [`DispatchError`]; nothing is burnt and nothing is parked.
    pub async fn dispatch(&self, task: &Task) -> Result<AgentId, DispatchError> {
        let mut pool = Pool::read(&self.fleet, self.fleet.now()).await?;
        let (lane, head) = (task.lane(), Head::of(task));
        match self.place(&mut pool, &lane, &head).await? {
            Placed::Given(agent) => Ok(agent),
            Placed::Nobody(_) => Err(NoEligibleAgent.into()),
            Placed::Refused(refused) => Err(DispatchError::Refused(Box::new(refused.told))),
            Placed::Lost(error) => Err(error.into()),
        }
    }

    /// Runs until it is cancelled: a tick whenever something happened that may let a task run, when a retry is due,
    /// and every [`crate::Policy::tick`] as a fallback. A store that fails is logged, counted and tried again.
    pub async fn run(&self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let cursor = self.fleet.ports().events.last().await;
            // A tick is a sequence of atomic steps; it ends between two of them, never inside one.
            let Some(tick) = stop.run_until_cancelled(self.tick()).await else { return };
            match (tick, cursor) {
                (Ok(tick), _) if tick.more => {}
                (Ok(_), Ok(cursor)) => {
                    if stop.run_until_cancelled(self.idle(cursor)).await.is_none() {
                        return;
                    }
                }
                (Err(error), _) | (Ok(_), Err(error)) => {
                    self.errors.fetch_add(1, Ordering::Relaxed);
                    // It may look again before the reaper has.
                    self.fleet.begin_grace();
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "a tick of the dispatcher failed"
                    );
                    let pause = Duration::from_secs(1).min(self.fleet.policy().tick);
                    let _ = stop.run_until_cancelled(tokio::time::sleep(pause)).await;
                }
            }
        }
    }

    /// Waits for a reason to tick.
    async fn idle(&self, mut cursor: EventId) {
        let ports = self.fleet.ports();
        let mut left = self.fleet.policy().tick;
        if let Ok(Some(due)) = ports.tasks.next_due().await {
            left = left.min(due.since(self.fleet.now()).max(Duration::from_millis(1)));
        }
        let deadline = tokio::time::Instant::now() + left;
        loop {
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            match ports.events.wait(cursor, left).await {
                Ok(true) if !left.is_zero() => {}
                Ok(_) => return,
                Err(error) => {
                    self.errors.fetch_add(1, Ordering::Relaxed);
                    self.fleet.begin_grace();
                    tracing::warn!(error = &error as &dyn std::error::Error, "cannot wait for events");
                    return tokio::time::sleep(left.min(Duration::from_secs(1))).await;
                }
            }
            match ports.events.after(cursor, PAGE).await {
                Ok(page) if page.events.iter().all(|event| !may_let_run(event)) => cursor = page.cursor,
                _ => return,
            }
        }
    }

    /// Looks once at every lane that has a ready task, and gives what can be given.
    ///
    /// # Errors
    /// Whatever a port answers that is no refusal; what was given stays given.
    pub async fn tick(&self) -> Result<Tick> {
        let revision = self.fleet.ports().allowances.limits_revision().await?;
        let tick = self.look().await;
        // Also one that failed may have given something before.
        if tick.as_ref().map_or(true, |tick| tick.dispatched > 0)
            && self.fleet.ports().allowances.limits_revision().await? != revision
        {
            self.fleet.follow_anew();
        }
        tick
    }

    async fn look(&self) -> Result<Tick> {
        let ports = self.fleet.ports();
        let now = self.fleet.now();
        for _ in 0..PROMOTE.1 {
            if ports.tasks.promote_due(now, PROMOTE.0).await? < PROMOTE.0 {
                break;
            }
        }
        let lanes = ports.tasks.lanes(MAX_LANES).await?;
        let mut tick = Tick::default();
        if lanes.views.is_empty() {
            return Ok(tick);
        }
        let mut pool = Pool::read(&self.fleet, now).await?;
        let mut queues = Vec::with_capacity(lanes.views.len());
        let mut order = BinaryHeap::with_capacity(lanes.views.len());
        for view in lanes.views {
            order.push(Reverse((place_of(&view.head), queues.len())));
            let heads = VecDeque::from([view.head]);
            queues.push(Queue { lane: view.lane, park: view.park, heads, read: false });
        }
        let mut tried = 0;
        while let Some(Reverse((_, index))) = order.pop() {
            if tried == MAX_TRIED {
                tick.more = tick.dispatched > 0 || tick.deferred > 0;
                return Ok(tick);
            }
            let Some(queue) = queues.get_mut(index) else { continue };
            let Some(head) = queue.heads.pop_front() else { continue };
            match self.place(&mut pool, &queue.lane, &head).await? {
                Placed::Given(_) => tick.dispatched += 1,
                Placed::Lost(_) => {}
                Placed::Refused(refused) if refused.for_itself => {
                    self.defer(&head, &refused, lanes.wake).await?;
                    tick.deferred += 1;
                }
                Placed::Refused(Refused { told, retry_at, .. }) => {
                    let reason = PendingReason { retry_at, ..quota_reason(&told) };
                    let scope = told.key.map(|key| key.scope);
                    self.park(queue, lanes.wake, &head, reason, scope).await?;
                    tick.parked += 1;
                    continue;
                }
                Placed::Nobody(reason) => {
                    self.park(queue, lanes.wake, &head, reason, None).await?;
                    tick.parked += 1;
                    continue;
                }
            }
            // A lane that is parked is done with for this tick; what goes on in a lane is bounded.
            tried += 1;
            if self.refill(queue).await? {
                // A hold may stand since: what it gave back is among these.
                pool.book = self.fleet.limits().await?;
            }
            if let Some(next) = queue.heads.front() {
                order.push(Reverse((place_of(next), index)));
            } else if queue.park.is_some() {
                // Nothing waits here any more, so that what comes next does not inherit an old reason.
                ports.tasks.unpark(Unpark { wake: Wake::Lane(queue.lane.clone()), limit: 1 }).await?;
            }
        }
        Ok(tick)
    }

    /// Tries the agents that fit, best first, until one takes the task.
    async fn place(&self, pool: &mut Pool, lane: &Lane, head: &Head) -> Result<Placed> {
        let need = Need { lane, priority: head.priority };
        let wanted = Wanted { lane, tokens: head.estimated_tokens };
        let mut refused = 0;
        pool.begin(wanted);
        loop {
            // A look at many agents waits for nothing else, and must not keep others waiting.
            tokio::task::yield_now().await;
            let Some(agent) = self.router.choose(&need, &mut pool.open()).cloned() else {
                return Ok(pool.verdict(wanted).map_or_else(Placed::Nobody, Placed::Refused));
            };
            // One instant for both: what is held against a window is admitted in it.
            let now = self.fleet.now();
            let subject = Subject::of(&agent, lane);
            let plan = self.fleet.plan(&mut pool.book, &subject, wanted.tokens, now).await?;
            let verdicts = self.fleet.evaluate(&plan.shadows, wanted.tokens, now).await;
            match self.assign(lane, head, &agent, subject.model.cloned(), plan, now).await {
                Ok(_) => {
                    self.fleet.note_shadows(lane, &head.id, &agent.id, verdicts, now).await;
                    pool.gave(&agent.id);
                    return Ok(Placed::Given(agent.id));
                }
                Err(Error::Refused(refusal)) => {
                    pool.refuse(wanted, &agent.id, *refusal);
                    refused += 1;
                    if refused % ONE_BY_ONE == 0 {
                        pool.sift(&self.fleet, wanted).await?;
                    }
                }
                Err(Error::Conflict {
                    code: ConflictCode::AgentUnavailable | ConflictCode::StaleIncarnation,
                    ..
                }) => pool.gone(&agent.id),
                Err(error @ (Error::Conflict { .. } | Error::NotFound { .. })) => {
                    return Ok(Placed::Lost(error));
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn assign(
        &self,
        lane: &Lane,
        head: &Head,
        agent: &AgentInfo,
        model: Option<ModelName>,
        plan: Plan,
        now: Timestamp,
    ) -> Result<Task> {
        if let Some(rule) = plan.rule {
            return Err(Error::Refused(Box::new(rule)));
        }
        let request = Request {
            job: JobId::new(head.id.clone(), head.attempt.saturating_add(1)),
            task_created_at: head.created_at,
            agent_id: agent.id.clone(),
            incarnation: Some(agent.incarnation),
            lease: self.fleet.policy().lease,
            dispatched: true,
        };
        let assign = request.assign(plan, model, lane.project.clone(), head.estimated_tokens, now);
        Ok(self.fleet.ports().ledger.assign(assign).await?.task)
    }

    /// Reads on in a lane whose read heads are used up; answers whether it did.
    async fn refill(&self, queue: &mut Queue) -> Result<bool> {
        let is_due = queue.heads.is_empty() && !queue.read;
        if is_due {
            let ready = self.fleet.ports().tasks.ready(&queue.lane, REFILL).await?;
            // What is read again was just tried and lost to another dispatcher, or deferred; a short read is the end.
            queue.read = ready.len() < REFILL;
            queue.heads = ready.into();
        }
        Ok(is_due)
    }

    /// Puts off a task that its own ask keeps from an agent with room, so that it holds up nobody. Where other agents
    /// may take it once they have room, it is looked at again soon.
    async fn defer(&self, head: &Head, refused: &Refused, seen: u64) -> Result<()> {
        let now = self.fleet.now();
        let soon = now.plus(self.fleet.policy().tick);
        let until = if refused.soon {
            soon
        } else {
            refused.retry_at.unwrap_or_else(|| now.plus(DEFERRAL)).min(now.plus(LONGEST_DEFERRAL))
        };
        let reason = PendingReason { code: "deferred".to_owned(), ..quota_reason(&refused.told) };
        let tasks = &self.fleet.ports().tasks;
        let mut defer =
            Defer { task: head.id.clone(), attempt: head.attempt, reason, until, seen: Some(seen), now };
        let mut deferred = tasks.defer(defer.clone()).await;
        if matches!(deferred, Err(Error::Conflict { code: ConflictCode::NewerWake, .. })) {
            // What was woken since may be what it waits for.
            (defer.until, defer.seen) = (until.min(soon), None);
            deferred = tasks.defer(defer).await;
        }
        ignore_moved(deferred.map(drop))
    }

    /// Parks a lane that nobody can take, or, by policy, counts the look as a failed attempt of its head.
    async fn park(
        &self,
        queue: &Queue,
        seen: u64,
        head: &Head,
        reason: PendingReason,
        scope: Option<Scope>,
    ) -> Result<()> {
        let now = self.fleet.now();
        let kinds: &[EventType] = match reason.code.as_str() {
            "quota" => &[EventType::QuotaExceeded, EventType::DispatchFailedQuota],
            "no_agent" => &[EventType::DispatchFailedNoAgent],
            _ => &[],
        };
        if self.fleet.policy().undispatchable == Undispatchable::Count && !kinds.is_empty() {
            return self.count(head, &reason, now).await;
        }
        if queue.park.as_ref().is_some_and(|park| park.reason == reason && park.scope == scope) {
            return Ok(());
        }
        let payload = json!({ "lane": queue.lane, "reason": reason });
        let event = |kind: &EventType| NewEvent::new(*kind, now).task(&head.id).payload(payload.clone());
        let events = kinds.iter().map(event).collect();
        let park = Park { reason, scope, parked_at: now };
        let park = ParkLane { lane: queue.lane.clone(), park, seen, events };
        ignore_moved(self.fleet.ports().tasks.park(park).await)
    }

    /// A look that found nobody, as a failed attempt: claimed by nobody's account, and failed at once.
    async fn count(&self, head: &Head, reason: &PendingReason, now: Timestamp) -> Result<()> {
        let tasks = &self.fleet.ports().tasks;
        let nobody = AgentId::try_new("nobody").map_err(|_| Error::backend("the name of nobody"))?;
        let job = JobId::new(head.id.clone(), head.attempt.saturating_add(1));
        let lease = self.fleet.policy().lease;
        let claim = Claim {
            job: job.clone(),
            agent_id: nobody,
            incarnation: None,
            lease,
            expires_at: now.plus(lease),
            deadline: None,
            dispatched: false,
            now,
        };
        let task = match tasks.claim(claim).await {
            Ok(task) => task,
            Err(error) => return ignore_moved(Err(error)),
        };
        let ending =
            Ending::Failed { error: reason.detail.clone(), next: self.fleet.after_failure(&task, now) };
        let end =
            EndAttempt { task: head.id.clone(), attempt: Some(job.attempt), agent_id: None, ending, now };
        ignore_moved(tasks.end_attempt(end).await.map(drop))
    }
}

/// What became of one task.
#[derive(Debug)]
enum Placed {
    /// It has an agent.
    Given(AgentId),
    /// Limits refused everybody who fits.
    Refused(Refused),
    /// Nobody fits, or all who fit are at capacity.
    Nobody(PendingReason),
    /// Somebody else was faster.
    Lost(Error),
}

/// A lane during a tick.
#[derive(Debug)]
struct Queue {
    lane: Lane,
    park: Option<Park>,
    heads: VecDeque<Head>,
    /// Everything that was ready has been read.
    read: bool,
}

/// The order in which tasks of all lanes are served.
fn place_of(head: &Head) -> (Priority, Timestamp, TaskId) {
    (head.priority, head.created_at, head.id.clone())
}

/// Something moved between the read and the step; the next look decides anew.
fn ignore_moved(result: Result<()>) -> Result<()> {
    match result {
        Err(Error::Conflict { .. } | Error::NotFound { .. }) => Ok(()),
        other => other,
    }
}

/// Whether an event may let a waiting task run.
fn may_let_run(event: &Event) -> bool {
    let says = |key: &str| event.payload.as_ref().and_then(|payload| payload.get(key));
    match event.kind {
        // Progress of a running task frees nothing, and neither does a start.
        EventType::TaskUpdated => says("edit").is_some(),
        EventType::UsageRecorded => says("event").is_none_or(|what| what != "job_started"),
        EventType::TaskClaimed
        | EventType::TaskDispatched
        | EventType::LateResult
        | EventType::DispatchFailedNoAgent
        | EventType::DispatchFailedQuota
        | EventType::QuotaExceeded
        | EventType::QuotaWarning
        | EventType::AgentOffline
        | EventType::AgentDeregistered => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_let_a_task_run_wakes_the_loop() {
        let wakes =
            |kind, payload| may_let_run(&NewEvent::new(kind, Timestamp::EPOCH).payload(payload).numbered(1));
        assert!(wakes(EventType::TaskUpdated, json!({ "edit": { "priority": "high" } })));
        assert!(!wakes(EventType::TaskUpdated, json!({ "progress": 40 })));
        assert!(wakes(EventType::UsageRecorded, json!({ "event": "job_cancelled" })));
        assert!(!wakes(EventType::UsageRecorded, json!({ "event": "job_started" })));
        assert!(wakes(EventType::TaskCreated, json!({})) && !wakes(EventType::TaskClaimed, json!({})));
    }
}
