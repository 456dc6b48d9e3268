//! The port of tasks.

use std::{collections::BTreeMap, fmt, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::Finished;
use crate::{
    attempt::{Attempt, Ending},
    clock::Timestamp,
    error::Result,
    event::{Event, EventId},
    id::{AgentId, JobId, TaskId},
    lane::{Head, Lane, LaneView, Park},
    limit::Scope,
    task::{NewTask, Page, PendingReason, Task, TaskEdit, TaskFilter, TaskStatus},
};

/// Creates tasks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CreateMany {
    /// 1–1,000 valid tasks; dependencies may name others of the same batch.
    pub tasks: Vec<NewTask>,
    /// Answer as creating would, with the reason why each would wait, and write nothing.
    #[serde(default)]
    pub rehearse: bool,
    /// When.
    pub now: Timestamp,
}

impl CreateMany {
    /// Creates these tasks.
    pub fn new(tasks: Vec<NewTask>, now: Timestamp) -> Self {
        Self { tasks, rehearse: false, now }
    }
}

/// A created task, or the one that its idempotency key created before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Created {
    /// As it stands now.
    pub task: Task,
    /// It existed already.
    pub replayed: bool,
}

/// The lanes that have a ready task.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Lanes {
    /// In the order of their heads: more urgent, then older, then by id.
    pub views: Vec<LaneView>,
    /// The wake-up number at which they were read; what [`ParkLane::seen`] is compared with.
    pub wake: u64,
}

/// Parks a lane.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ParkLane {
    /// Which.
    pub lane: Lane,
    /// Why, and until when.
    pub park: Park,
    /// [`Lanes::wake`] of the read that it was decided on.
    pub seen: u64,
    /// The events to append if the lane was not parked for this reason before.
    pub events: Vec<crate::event::NewEvent>,
}

/// What to wake.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wake {
    /// One lane.
    Lane(Lane),
    /// Lanes that wait for room under this scope, and all tasks that are put off for themselves: several limits may have
    /// refused such a one.
    Scope(Scope),
    /// All lanes, and all tasks that are put off for themselves.
    All,
}

/// Wakes parked lanes, and tasks that are put off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Unpark {
    /// Which.
    pub wake: Wake,
    /// At most so many in one step.
    pub limit: usize,
}

/// Takes a pending task for an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// The task, and the number of the attempt to make: one more than its latest.
    pub job: JobId,
    /// Who takes it.
    pub agent_id: AgentId,
    /// Which start of the agent; `None` where it did not register.
    pub incarnation: Option<u64>,
    /// How long each renewal lasts.
    pub lease: Duration,
    /// Until when, at first; the same instant as the reservation's.
    pub expires_at: Timestamp,
    /// The lease is not renewed past this.
    pub deadline: Option<Timestamp>,
    /// The dispatcher gives it; else the agent takes it itself, which starts it.
    pub dispatched: bool,
    /// When.
    pub now: Timestamp,
}

/// Renews a lease.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Renew {
    /// Which attempt.
    pub job: JobId,
    /// Its holder.
    pub agent_id: AgentId,
    /// Until when.
    pub expires_at: Timestamp,
    /// When.
    pub now: Timestamp,
}

/// Notes how far a running attempt is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Which task.
    pub task: TaskId,
    /// Which attempt; `None` = the current one.
    pub attempt: Option<u32>,
    /// Who says so; `None` = an operator.
    pub agent_id: Option<AgentId>,
    /// 0–100; absent stays.
    pub progress: Option<u8>,
    /// Free text; absent stays.
    pub notes: Option<String>,
    /// When.
    pub now: Timestamp,
}

/// Ends an attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndAttempt {
    /// Which task.
    pub task: TaskId,
    /// Which attempt: the fence; `None` = the current one, if the caller holds it.
    pub attempt: Option<u32>,
    /// Who ends it; `None` = an operator or a sweep.
    pub agent_id: Option<AgentId>,
    /// How.
    pub ending: Ending,
    /// When.
    pub now: Timestamp,
}

/// Edits a task that waits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Edit {
    /// Which task.
    pub task: TaskId,
    /// What changes.
    pub edit: TaskEdit,
    /// When.
    pub now: Timestamp,
}

/// Puts a pending task off for itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Defer {
    /// Which task.
    pub task: TaskId,
    /// Its latest attempt when that was decided.
    pub attempt: u32,
    /// Why.
    pub reason: PendingReason,
    /// Until when.
    pub until: Timestamp,
    /// The number of wake-ups when that was decided; absent = it holds whatever was woken since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<u64>,
    /// When.
    pub now: Timestamp,
}

/// Blocks or unblocks a waiting task by hand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Block {
    /// Which task.
    pub task: TaskId,
    /// `Some` blocks it, for this reason; `None` unblocks it.
    pub reason: Option<String>,
    /// When.
    pub now: Timestamp,
}

/// Ends a task by hand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CancelTask {
    /// Which task.
    pub task: TaskId,
    /// `Cancelled`, or `Failed` for an administrator who gives it up.
    pub status: TaskStatus,
    /// Why.
    pub reason: String,
    /// When.
    pub now: Timestamp,
}

/// Tasks, their attempts and their lanes.
///
/// Every transition appends its events in its own transaction, and validates everything before it writes anything.
/// `NotFound` names a task that does not exist; `Unavailable` means that the call may or may not have been done.
#[async_trait]
pub trait TaskStore: fmt::Debug + Send + Sync + 'static {
    /// Creates tasks, all or none, in the order given.
    ///
    /// A task with unfinished dependencies is created `blocked`.
    ///
    /// # Atomicity
    /// One step (`create_is_all_or_nothing`).
    ///
    /// # Idempotency
    /// By `idempotency_key`: the same request again answers with the task that it made (`create_by_key_is_once`).
    /// A rehearsal answers and refuses alike, and writes nothing (`a_rehearsal_answers_as_creating_and_writes_nothing`).
    ///
    /// # Errors
    /// `Conflict`: `exists` for a taken id, `idempotency_mismatch` for a key that came with another request.
    /// `Invalid`: a dependency that does not exist, a cycle inside the batch, more than 1,000 tasks that wait for one.
    async fn create_many(&self, create: CreateMany) -> Result<Vec<Created>>;

    /// Reads a task with its `blockers`, and its `pending_reason` at `now`.
    ///
    /// # Errors
    /// `NotFound`.
    async fn get(&self, id: &TaskId, now: Timestamp) -> Result<Task>;

    /// Reads a page of the tasks that match, ascending by creation and id, as [`TaskStore::get`] does.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn list(&self, filter: &TaskFilter, page: &Page, now: Timestamp) -> Result<Vec<Task>>;

    /// Counts all tasks by status; statuses without a task are absent.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn counts(&self) -> Result<BTreeMap<TaskStatus, u64>>;

    /// Reads an attempt; `None` when there was none.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn attempt(&self, job: &JobId) -> Result<Option<Attempt>>;

    /// Reads the attempts assigned to one start of an agent and not started, oldest first, at most `limit`.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn assigned(&self, agent: &AgentId, incarnation: u64, limit: usize) -> Result<Vec<Task>>;

    /// Reads the lanes that have a ready task, at most `limit`, in the order of their heads; parked ones too.
    ///
    /// Costs O(ready lanes), whatever stands behind the heads.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn lanes(&self, limit: usize) -> Result<Lanes>;

    /// Reads the first `limit` ready tasks of a lane.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn ready(&self, lane: &Lane, limit: usize) -> Result<Vec<Head>>;

    /// Moves at most `limit` pending tasks whose time has come into their lanes; answers how many.
    ///
    /// # Atomicity
    /// One step (`promote_moves_what_is_due`). Repeating it moves nothing twice.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn promote_due(&self, now: Timestamp, limit: usize) -> Result<usize>;

    /// The earliest instant after which [`TaskStore::promote_due`] has something to move; `None` = never.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn next_due(&self) -> Result<Option<Timestamp>>;

    /// Parks a lane; its tasks inherit the reason on read.
    ///
    /// # Atomicity
    /// One step; the events are appended only when the lane's reason changes (`park_tells_only_changes`).
    ///
    /// # Errors
    /// `Conflict` `newer_wake`: something woke lanes since `seen` (`park_loses_to_a_newer_wake`).
    async fn park(&self, park: ParkLane) -> Result<()>;

    /// Wakes parked lanes and tasks that are put off, at most `limit` together; answers how many. Such a task joins its
    /// lane by the next [`TaskStore::promote_due`]. Counts as a wake-up even when it finds none.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn unpark(&self, unpark: Unpark) -> Result<usize>;

    /// Takes a pending task whose time has come: the compare-and-set with exactly one winner.
    ///
    /// Alone it admits nothing: services use [`super::Ledger::assign`]; this is the task's half of a saga.
    ///
    /// # Atomicity
    /// One step (`claim_has_one_winner`).
    ///
    /// # Errors
    /// `Conflict`: `already_claimed` with the holder, `not_claimable`, `not_ready`, `stale_attempt`.
    async fn claim(&self, claim: Claim) -> Result<Task>;

    /// Marks an attempt as started, if it is not.
    ///
    /// # Errors
    /// As [`TaskStore::renew`].
    async fn start(&self, start: super::StartAttempt) -> Result<Task>;

    /// Renews the lease of a running attempt; also one that has run out and was not reaped.
    ///
    /// # Errors
    /// `Conflict`: `stale_attempt`, `not_holder`, `illegal_transition`.
    async fn renew(&self, renew: Renew) -> Result<Task>;

    /// Notes progress of a running attempt.
    ///
    /// # Errors
    /// `Conflict`: `stale_attempt`, `not_holder`, `illegal_transition`.
    async fn progress(&self, progress: Progress) -> Result<Task>;

    /// Ends an attempt: the task's half of [`super::Ledger::finish`], with the same answers.
    ///
    /// # Atomicity
    /// One step with what it unblocks.
    ///
    /// # Errors
    /// `Conflict` as [`super::Ledger::finish`] answers; `Invalid` for a [`crate::attempt::Next`] that the retry
    /// count forbids.
    async fn end_attempt(&self, end: EndAttempt) -> Result<Finished>;

    /// Edits a task that waits, and wakes its lane.
    ///
    /// # Errors
    /// `Conflict` `illegal_transition` when it does not wait.
    async fn edit(&self, edit: Edit) -> Result<Task>;

    /// Puts a pending task off for itself, until its time or a wake-up; burns nothing.
    ///
    /// # Errors
    /// `Conflict`: `stale_attempt`, `illegal_transition`, `newer_wake` (`a_deferral_loses_to_a_newer_wake`).
    async fn defer(&self, defer: Defer) -> Result<Task>;

    /// Blocks or unblocks a waiting task by hand. Idempotent.
    ///
    /// # Errors
    /// `Conflict` `illegal_transition`: a running task is blocked by ending its attempt
    /// ([`Ending::Blocked`]); a task that is not blocked by hand cannot be unblocked.
    async fn block(&self, block: Block) -> Result<Task>;

    /// Ends a task that is not over, at once; the reservation of a running attempt lives on until its last report.
    ///
    /// # Errors
    /// `Conflict` `illegal_transition` when it is over.
    async fn cancel(&self, cancel: CancelTask) -> Result<Task>;

    /// Puts a failed or cancelled task back.
    ///
    /// # Errors
    /// `Conflict` `illegal_transition` otherwise.
    async fn requeue(&self, id: &TaskId, now: Timestamp) -> Result<Task>;

    /// Reads the running attempts whose lease has run out at `now`, longest ago first, at most `limit`.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn expired(&self, now: Timestamp, limit: usize) -> Result<Vec<(Task, Attempt)>>;

    /// Reads the events of one task after `after`, at most `limit`.
    ///
    /// # Errors
    /// `NotFound`.
    async fn history(&self, id: &TaskId, after: EventId, limit: usize) -> Result<Vec<Event>>;

    /// Deletes at most `limit` tasks that ended before `before` and that no open task depends on, with their
    /// attempts; answers how many. Where releases of dependents are still to be done, they come first, at `now`.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn prune(&self, before: Timestamp, limit: usize, now: Timestamp) -> Result<usize>;
}
