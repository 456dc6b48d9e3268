//! A task's life as one pure function (design §5).
//!
//! [`step`] takes a task as it is stored, what somebody wants and the time, and answers with the task as it must be
//! stored and the events to append, or refuses and changes nothing. Every back end decides with it, or is held to it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    attempt::{Ending, Next},
    clock::Timestamp,
    error::{ConflictCode, Error, Result},
    event::{EventType, NewEvent},
    id::{AgentId, TaskId},
    lane::Park,
    task::{BlockCause, PendingReason, Task, TaskEdit, TaskStatus},
};

/// The `fail_reason` of a task that used up its retries.
pub const MAX_RETRIES_EXCEEDED: &str = "max retries exceeded";

/// A task with what only stores need to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRow {
    /// The task.
    pub task: Task,
    /// How many of its dependencies are not completed.
    pub open_dependencies: u32,
    /// It is pending because its latest attempt's lease ran out, and was not touched since: that attempt may still
    /// complete it.
    pub lapsed: bool,
    /// It stands in its lane. A pending task whose time had not come does not, until `promote_due` moves it.
    pub ready: bool,
    /// Why it was deferred, until `retry_at`.
    pub deferred: Option<PendingReason>,
    /// The digest of the request that created it.
    pub request_digest: String,
}

/// What somebody wants of a task.
#[derive(Debug, Clone, PartialEq)]
pub enum Action<'a> {
    /// An agent takes it: `attempt` is the number that the new attempt will have.
    Claim {
        /// Who.
        agent: &'a AgentId,
        /// The new attempt's number.
        attempt: u32,
        /// Until when.
        expires_at: Timestamp,
        /// Whether the dispatcher gave it.
        dispatched: bool,
    },
    /// Its holder says that it lives.
    Renew {
        /// Until when.
        expires_at: Timestamp,
    },
    /// Its holder says how far it is.
    Progress {
        /// 0–100.
        progress: Option<u8>,
        /// Free text.
        notes: Option<&'a str>,
    },
    /// The current attempt ends.
    End(&'a Ending),
    /// A person changes what waits.
    Edit(&'a TaskEdit),
    /// Policy puts it off for itself; burns nothing.
    Defer {
        /// Why.
        reason: &'a PendingReason,
        /// Until when.
        until: Timestamp,
    },
    /// What it was put off for may have room now: it is not put off any more, and its time is its own again.
    Wake,
    /// Its time has come: it joins its lane.
    Promote,
    /// A person blocks what waits.
    Block {
        /// Why.
        reason: &'a str,
    },
    /// A person unblocks it.
    Unblock,
    /// One of its dependencies was completed.
    DependencyCompleted,
    /// A person ends it.
    Close {
        /// `Cancelled` or `Failed`.
        status: TaskStatus,
        /// Why.
        reason: &'a str,
    },
    /// A person puts a failed or cancelled task back.
    Requeue,
}

/// Does `action` at `now`: the task as it must be stored, and the events to append.
///
/// Who acts is not looked at here: the callers hold the fence (see [`check_holder`]).
///
/// # Errors
/// `Conflict` where the task's state does not allow the action; `Invalid` for a [`Next`] that its count forbids.
pub fn step(row: &TaskRow, action: &Action<'_>, now: Timestamp) -> Result<(TaskRow, Vec<NewEvent>)> {
    let mut next = row.clone();
    let mut events = Events { task: &row.task, now, list: Vec::new() };
    let status = row.task.status;
    match action {
        Action::Claim { agent, attempt, expires_at, dispatched } => {
            check_claimable(&row.task, *attempt, now)?;
            let task = &mut next.task;
            task.status = TaskStatus::InProgress;
            task.attempt = *attempt;
            task.claimed_by = Some((*agent).clone());
            task.claimed_at = Some(now);
            task.lease_expires_at = Some(*expires_at);
            task.retry_at = None;
            task.progress = 0;
            next.lapsed = false;
            next.deferred = None;
            let about = |kind| NewEvent::new(kind, now).agent(agent).payload(json!({ "attempt": attempt }));
            events.push(about(EventType::TaskClaimed));
            if *dispatched {
                events.push(about(EventType::TaskDispatched));
            }
        }
        Action::Renew { expires_at } => {
            require(status == TaskStatus::InProgress, &row.task, "has no attempt to renew")?;
            next.task.lease_expires_at = Some(*expires_at);
            return Ok((next, events.list));
        }
        Action::Progress { progress, notes } => {
            require(status == TaskStatus::InProgress, &row.task, "has no attempt that could progress")?;
            let changed = progress.is_some_and(|p| p != row.task.progress)
                || notes.is_some_and(|notes| row.task.notes.as_deref() != Some(notes));
            if !changed {
                return Ok((next, events.list));
            }
            next.task.progress = progress.unwrap_or(row.task.progress);
            if let Some(notes) = notes {
                next.task.notes = Some((*notes).to_owned());
            }
            events.held(EventType::TaskUpdated, json!({ "progress": next.task.progress, "notes": notes }));
        }
        Action::End(ending) => end(&mut next, ending, now, &mut events)?,
        Action::Edit(edit) => {
            let waits = matches!(status, TaskStatus::Pending | TaskStatus::Blocked);
            require(waits, &row.task, "can be edited only while it waits")?;
            edit_waiting(&mut next, edit, now);
            if next.task != row.task {
                events.plain(EventType::TaskUpdated, json!({ "edit": edit }));
            }
        }
        Action::Defer { reason, until } => {
            require(status == TaskStatus::Pending, &row.task, "can be deferred only while it is pending")?;
            next.task.retry_at = Some(*until);
            next.deferred = Some((*reason).clone());
            // Nobody touched the task: an attempt that lapsed may still complete it.
            next.ready = next.task.ready_at() <= now;
        }
        Action::Wake => {
            require(row.deferred.is_some(), &row.task, "is not put off")?;
            next.task.retry_at = None;
            next.deferred = None;
            return Ok((next, events.list));
        }
        Action::Promote => {
            require(status == TaskStatus::Pending, &row.task, "can join its lane only while it is pending")?;
            next.ready = row.task.ready_at() <= now;
            return Ok((next, events.list));
        }
        Action::Block { reason } => {
            let waits = matches!(status, TaskStatus::Pending | TaskStatus::Blocked);
            require(waits, &row.task, "can be blocked only while it waits or runs")?;
            if !next.task.blocked_by.insert(BlockCause::Manual) {
                return Ok((next, events.list));
            }
            next.task.status = TaskStatus::Blocked;
            next.lapsed = false;
            events.plain(EventType::TaskBlocked, json!({ "reason": reason }));
        }
        Action::Unblock => {
            require(next.task.blocked_by.remove(&BlockCause::Manual), &row.task, "is not blocked by hand")?;
            settle_block(&mut next, now, &mut events);
        }
        Action::DependencyCompleted => {
            next.open_dependencies = row.open_dependencies.saturating_sub(1);
            if next.open_dependencies == 0 {
                next.task.blocked_by.remove(&BlockCause::Dependency);
                if status == TaskStatus::Blocked {
                    settle_block(&mut next, now, &mut events);
                }
            }
        }
        Action::Close { status: to, reason } => {
            require(!status.is_final(), &row.task, "is over already")?;
            let ended_attempt = status == TaskStatus::InProgress;
            if ended_attempt {
                next.task.last_attempt = Some(now);
            } else {
                next.task.claimed_by = None;
            }
            next.task.blocked_by.clear();
            next.task.status = *to;
            next.task.fail_reason = Some((*reason).to_owned());
            let kind = if *to == TaskStatus::Failed {
                EventType::TaskDeadLettered
            } else {
                EventType::TaskCancelled
            };
            events.held(kind, json!({ "reason": reason }));
        }
        Action::Requeue => {
            let over = matches!(status, TaskStatus::Failed | TaskStatus::Cancelled);
            require(over, &row.task, "can be requeued only when it failed or was cancelled")?;
            let task = &mut next.task;
            task.retry_count = 0;
            task.retry_at = None;
            task.progress = 0;
            task.fail_reason = None;
            next.deferred = None;
            events.plain(EventType::TaskRequeued, json!({}));
            let open = next.open_dependencies > 0;
            next.task.blocked_by = open.then_some(BlockCause::Dependency).into_iter().collect();
            enqueue(&mut next, now);
        }
    }
    let status = next.task.status;
    if status != TaskStatus::InProgress {
        next.task.lease_expires_at = None;
    }
    if matches!(status, TaskStatus::Pending | TaskStatus::Blocked) {
        next.task.claimed_by = None;
        next.task.claimed_at = None;
    }
    if status != TaskStatus::Pending {
        next.ready = false;
        next.lapsed = false;
        next.deferred = None;
    }
    next.task.updated_at = next.task.updated_at.max(now);
    Ok((next, events.list))
}

/// Refuses a caller who is not the holder of the task's current attempt.
///
/// `agent: None` is an operator, who acts for every holder; `attempt: None` is the current attempt.
///
/// # Errors
/// `Conflict` with the holder: `stale_attempt`, `not_holder`, or `illegal_transition` when nobody holds the task.
pub fn check_holder(task: &Task, agent: Option<&AgentId>, attempt: Option<u32>) -> Result<()> {
    if let Some(attempt) = attempt
        && attempt != task.attempt
    {
        return Err(Error::Conflict {
            code: ConflictCode::StaleAttempt,
            detail: format!(
                "attempt {attempt} of task {} is over; it is at attempt {}",
                task.id, task.attempt
            ),
            holder: task.claimed_by.clone(),
        });
    }
    require(task.status == TaskStatus::InProgress, task, "is not in progress")?;
    if let Some(agent) = agent
        && task.claimed_by.as_ref() != Some(agent)
    {
        return Err(Error::Conflict {
            code: ConflictCode::NotHolder,
            detail: format!("agent {agent} does not hold task {}", task.id),
            holder: task.claimed_by.clone(),
        });
    }
    Ok(())
}

/// Refuses a task that nobody can claim as this attempt now.
///
/// # Errors
/// `Conflict`: `already_claimed` with the holder, `not_claimable`, `not_ready`, `stale_attempt`.
pub fn check_claimable(task: &Task, attempt: u32, now: Timestamp) -> Result<()> {
    match task.status {
        TaskStatus::Pending => {}
        TaskStatus::InProgress => {
            return Err(Error::Conflict {
                code: ConflictCode::AlreadyClaimed,
                detail: match &task.claimed_by {
                    Some(holder) => format!("task {} is held by agent {holder}", task.id),
                    None => format!("task {} is held", task.id),
                },
                holder: task.claimed_by.clone(),
            });
        }
        status => {
            let detail = format!("task {} is {status}, so it cannot be claimed", task.id);
            return Err(Error::conflict(ConflictCode::NotClaimable, detail));
        }
    }
    if task.ready_at() > now {
        let detail = format!("task {} waits until {}", task.id, task.ready_at());
        return Err(Error::conflict(ConflictCode::NotReady, detail));
    }
    if task.attempt.checked_add(1) != Some(attempt) {
        let detail = format!("task {} is at attempt {}, not before {attempt}", task.id, task.attempt);
        return Err(Error::conflict(ConflictCode::StaleAttempt, detail));
    }
    Ok(())
}

fn end(row: &mut TaskRow, ending: &Ending, now: Timestamp, events: &mut Events<'_>) -> Result<()> {
    let running = row.task.status == TaskStatus::InProgress;
    let by_holder = ending.proves_start();
    require(running || (row.lapsed && by_holder), &row.task, "has no attempt that could end")?;
    if let Ending::Expired { .. } = ending
        && row.task.lease_expires_at.is_some_and(|at| at > now)
    {
        let detail = format!("the lease of task {} has not run out", row.task.id);
        return Err(Error::conflict(ConflictCode::LeaseLive, detail));
    }
    row.task.last_attempt = Some(now);
    match ending {
        Ending::Completed(result) => {
            row.task.status = TaskStatus::Completed;
            row.task.progress = 100;
            row.task.result = Some(result.clone());
            row.task.retry_at = None;
            events.held(EventType::TaskCompleted, json!({}));
        }
        Ending::Failed { error, .. } if !running => {
            // The expiry has burnt this attempt's retry already; what the agent says late is only noted.
            row.task.last_error = Some(error.clone());
            events.held(EventType::TaskUpdated, json!({ "error": error }));
        }
        Ending::Failed { error, next } => {
            row.task.last_error = Some(error.clone());
            burn(row, *next, now, error, events)?;
        }
        Ending::Expired { next } => {
            let error = "the lease ran out";
            events.held(EventType::LeaseExpired, json!({}));
            if let Some(next) = next {
                row.task.last_error = Some(error.to_owned());
                burn(row, *next, now, error, events)?;
            } else {
                enqueue(row, now);
            }
            row.lapsed = row.task.status == TaskStatus::Pending;
        }
        Ending::Released { reason } => {
            enqueue(row, now);
            events.held(EventType::TaskReleased, json!({ "reason": reason }));
        }
        Ending::Blocked { reason } => {
            row.task.blocked_by.insert(BlockCause::Manual);
            row.task.status = TaskStatus::Blocked;
            events.held(EventType::TaskReleased, json!({ "reason": reason }));
            events.plain(EventType::TaskBlocked, json!({ "reason": reason }));
        }
    }
    Ok(())
}

/// Counts a failed attempt: another follows, or none.
fn burn(row: &mut TaskRow, next: Next, now: Timestamp, error: &str, events: &mut Events<'_>) -> Result<()> {
    let task = &mut row.task;
    match next {
        Next::RetryAt(at) => {
            if task.retry_count >= task.max_retries {
                return Err(Error::invalid("next", format!("task {} has no retry left", task.id)));
            }
            task.retry_count += 1;
            task.retry_at = Some(at);
            let payload = json!({ "error": error, "retry_count": task.retry_count, "retry_at": at });
            enqueue(row, now);
            events.held(EventType::TaskRetryScheduled, payload);
        }
        Next::DeadLetter => {
            if task.retry_count < task.max_retries {
                return Err(Error::invalid("next", format!("task {} has retries left", task.id)));
            }
            task.status = TaskStatus::Failed;
            task.retry_at = None;
            task.fail_reason = Some(MAX_RETRIES_EXCEEDED.to_owned());
            let payload = json!({ "error": error, "reason": MAX_RETRIES_EXCEEDED });
            events.held(EventType::TaskDeadLettered, payload);
        }
    }
    Ok(())
}

/// Puts a task where it waits: blocked while a cause stands, else pending, in its lane if its time has come.
fn enqueue(row: &mut TaskRow, now: Timestamp) {
    let blocked = !row.task.blocked_by.is_empty();
    row.task.status = if blocked { TaskStatus::Blocked } else { TaskStatus::Pending };
    row.ready = !blocked && row.task.ready_at() <= now;
    row.lapsed = false;
}

fn settle_block(row: &mut TaskRow, now: Timestamp, events: &mut Events<'_>) {
    if row.task.blocked_by.is_empty() {
        enqueue(row, now);
        events.plain(EventType::TaskUnblocked, json!({}));
    }
}

fn edit_waiting(row: &mut TaskRow, edit: &TaskEdit, now: Timestamp) {
    let TaskEdit { priority, labels, model, not_before, description } = edit.clone();
    let task = &mut row.task;
    task.priority = priority.unwrap_or(task.priority);
    task.labels = labels.unwrap_or_else(|| std::mem::take(&mut task.labels));
    task.model = model.or_else(|| task.model.take());
    task.not_before = not_before.or(task.not_before);
    task.description = description.unwrap_or_else(|| std::mem::take(&mut task.description));
    enqueue(row, now);
}

fn require(holds: bool, task: &Task, why_not: &str) -> Result<()> {
    if holds {
        return Ok(());
    }
    Err(Error::Conflict {
        code: ConflictCode::IllegalTransition,
        detail: format!("task {} is {}: it {why_not}", task.id, task.status),
        holder: task.claimed_by.clone().filter(|_| task.status == TaskStatus::InProgress),
    })
}

/// Collects the events of one step.
struct Events<'a> {
    task: &'a Task,
    now: Timestamp,
    list: Vec<NewEvent>,
}

impl Events<'_> {
    fn push(&mut self, event: NewEvent) {
        self.list.push(event.task(&self.task.id));
    }

    fn plain(&mut self, kind: EventType, payload: serde_json::Value) {
        self.push(NewEvent::new(kind, self.now).payload(payload));
    }

    /// An event about the current attempt and whoever holds it.
    fn held(&mut self, kind: EventType, mut payload: serde_json::Value) {
        payload["attempt"] = json!(self.task.attempt);
        let event = NewEvent::new(kind, self.now).payload(payload);
        self.push(NewEvent { agent_id: self.task.claimed_by.clone(), ..event });
    }
}

/// Why a task that is not final does not run.
///
/// `open` are its dependencies that are not completed, in its own order, with their statuses; `park` is why its lane
/// is parked. Both are needed only for a blocked and for a queued task.
pub fn pending_reason(
    row: &TaskRow,
    now: Timestamp,
    open: &[(TaskId, TaskStatus)],
    park: Option<&Park>,
) -> Option<PendingReason> {
    let task = &row.task;
    let reason = |code: &str, detail: String, retry_at| {
        Some(PendingReason { code: code.to_owned(), detail, retry_at })
    };
    match task.status {
        TaskStatus::Blocked if task.blocked_by.contains(&BlockCause::Dependency) => {
            reason("dependency", waits_for(open), None)
        }
        TaskStatus::Blocked => reason("manual", "is blocked by hand until it is unblocked".to_owned(), None),
        TaskStatus::Pending if task.ready_at() > now => {
            if let Some(deferred) = &row.deferred {
                return Some(PendingReason { retry_at: task.retry_at, ..deferred.clone() });
            }
            let (code, detail) = if task.retry_at.is_some_and(|at| at > now) {
                ("backoff", format!("waits after {} failed attempts", task.retry_count))
            } else {
                ("not_before", "is not to start before its time".to_owned())
            };
            reason(code, detail, Some(task.ready_at()))
        }
        TaskStatus::Pending => park
            .map(|park| park.reason.clone())
            .or_else(|| reason("queued", "waits for the dispatcher".to_owned(), None)),
        TaskStatus::InProgress | TaskStatus::Completed | TaskStatus::Failed | TaskStatus::Cancelled => None,
    }
}

/// Names the dependency that matters most: one that ended without being completed, else the first.
fn waits_for(open: &[(TaskId, TaskStatus)]) -> String {
    let ended = open.iter().find(|(_, status)| status.is_final());
    let more = match open.len() {
        0 | 1 => String::new(),
        n => format!(" and {} more", n - 1),
    };
    match ended.or(open.first()) {
        Some((id, status)) => format!("waits for task {id}, which is {status}{more}"),
        None => "waits for its dependencies".to_owned(),
    }
}

/// The lease that a claim may ask for: at least a second, at most a day.
pub const LEASE_BOUNDS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_hours(24));

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        backoff::Backoff,
        id::TaskId,
        task::{NewTask, Priority, TaskResult},
    };

    const T0: Timestamp = Timestamp::EPOCH;

    fn row(dependencies: u32) -> TaskRow {
        let new = NewTask { max_retries: 2, ..NewTask::new("t".parse().unwrap(), "x") };
        let mut task = new.into_task(T0);
        if dependencies > 0 {
            task.status = TaskStatus::Blocked;
            task.blocked_by.insert(BlockCause::Dependency);
        }
        TaskRow {
            task,
            open_dependencies: dependencies,
            lapsed: false,
            ready: dependencies == 0,
            deferred: None,
            request_digest: String::new(),
        }
    }

    /// What a test may want of a task; [`Want::action`] fills in what its state asks for.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Want {
        Claim,
        Renew,
        Progress,
        Complete,
        Fail,
        Expire,
        ExpireUnstarted,
        Release,
        BlockRunning,
        Edit,
        Defer,
        Wake,
        Promote,
        Block,
        Unblock,
        DependencyCompleted,
        Cancel,
        GiveUp,
        Requeue,
    }

    const WANTS: [Want; 19] = [
        Want::Claim,
        Want::Renew,
        Want::Progress,
        Want::Complete,
        Want::Fail,
        Want::Expire,
        Want::ExpireUnstarted,
        Want::Release,
        Want::BlockRunning,
        Want::Edit,
        Want::Defer,
        Want::Wake,
        Want::Promote,
        Want::Block,
        Want::Unblock,
        Want::DependencyCompleted,
        Want::Cancel,
        Want::GiveUp,
        Want::Requeue,
    ];

    fn act(row: &TaskRow, want: Want, now: Timestamp) -> Result<(TaskRow, Vec<NewEvent>)> {
        let agent: AgentId = "a".parse().unwrap();
        let later = |secs| now.plus(Duration::from_secs(secs));
        let follows = || {
            if row.task.retry_count < row.task.max_retries {
                Next::RetryAt(now.plus(Backoff::default().after(row.task.retry_count + 1)))
            } else {
                Next::DeadLetter
            }
        };
        let result = TaskResult { success: true, ..TaskResult::default() };
        let reason = PendingReason {
            code: "deferred".to_owned(),
            detail: "too big".to_owned(),
            retry_at: Some(later(9)),
        };
        let edit = TaskEdit { priority: Some(Priority::High), ..TaskEdit::default() };
        let text = || "why".to_owned();
        let ending = match want {
            Want::Complete => Ending::Completed(result),
            Want::Fail => Ending::Failed { error: text(), next: follows() },
            Want::Expire => Ending::Expired { next: Some(follows()) },
            Want::ExpireUnstarted => Ending::Expired { next: None },
            Want::BlockRunning => Ending::Blocked { reason: text() },
            _ => Ending::Released { reason: text() },
        };
        let attempt = row.task.attempt + 1;
        let action = match want {
            Want::Claim => Action::Claim { agent: &agent, attempt, expires_at: later(60), dispatched: true },
            Want::Renew => Action::Renew { expires_at: later(60) },
            Want::Progress => Action::Progress { progress: Some(7), notes: None },
            Want::Edit => Action::Edit(&edit),
            Want::Defer => Action::Defer { reason: &reason, until: later(9) },
            Want::Wake => Action::Wake,
            Want::Promote => Action::Promote,
            Want::Block => Action::Block { reason: "why" },
            Want::Unblock => Action::Unblock,
            Want::DependencyCompleted => Action::DependencyCompleted,
            Want::Cancel => Action::Close { status: TaskStatus::Cancelled, reason: "why" },
            Want::GiveUp => Action::Close { status: TaskStatus::Failed, reason: "why" },
            Want::Requeue => Action::Requeue,
            _ => Action::End(&ending),
        };
        step(row, &action, now)
    }

    /// The picture of design §5, as pairs: from which status what may lead to which.
    fn is_drawn(from: TaskStatus, want: Want, to: TaskStatus) -> bool {
        use TaskStatus::{Blocked, Cancelled, Completed, Failed, InProgress, Pending};
        match want {
            Want::Claim => (from, to) == (Pending, InProgress),
            Want::Renew | Want::Progress => (from, to) == (InProgress, InProgress),
            Want::Complete => matches!((from, to), (InProgress | Pending, Completed)),
            Want::Fail => matches!((from, to), (InProgress, Pending | Failed) | (Pending, Pending)),
            Want::Expire => matches!((from, to), (InProgress, Pending | Failed)),
            Want::ExpireUnstarted | Want::Release => (from, to) == (InProgress, Pending),
            Want::BlockRunning => (from, to) == (InProgress, Blocked),
            Want::Edit => from == to && matches!(from, Pending | Blocked),
            Want::Defer | Want::Wake | Want::Promote => (from, to) == (Pending, Pending),
            Want::Block => matches!((from, to), (Pending | Blocked, Blocked)),
            Want::Unblock => matches!((from, to), (Blocked, Pending | Blocked)),
            Want::DependencyCompleted => from == to || (from, to) == (Blocked, Pending),
            Want::Cancel => !from.is_final() && to == Cancelled,
            Want::GiveUp => !from.is_final() && to == Failed,
            Want::Requeue => matches!((from, to), (Failed | Cancelled, Pending | Blocked)),
        }
    }

    fn check_shape(row: &TaskRow) {
        let task = &row.task;
        let running = task.status == TaskStatus::InProgress;
        assert_eq!(task.lease_expires_at.is_some(), running, "a lease while running, and only then");
        assert!(!running || task.claimed_by.is_some(), "a running task has a holder");
        assert_eq!(
            task.status == TaskStatus::Blocked,
            !task.blocked_by.is_empty() && !task.status.is_final()
        );
        assert!(task.retry_count <= task.max_retries);
        assert!(!row.ready || task.status == TaskStatus::Pending, "only a pending task stands in a lane");
        assert!(!row.lapsed || task.status == TaskStatus::Pending);
        assert_eq!(task.status == TaskStatus::Completed, task.result.is_some());
        let waits_for_one = task.blocked_by.contains(&BlockCause::Dependency);
        assert!(!waits_for_one || row.open_dependencies > 0, "a cleared cause is gone");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        /// Whatever is wanted in whatever order: only drawn transitions happen, the shape holds, attempts only grow, a
        /// retry is burnt only by a failure, and a refusal is a conflict.
        #[test]
        fn every_path_keeps_to_the_picture(
            dependencies in 0u32..3,
            wants in proptest::collection::vec((0..WANTS.len(), 0u64..90), 1..60),
        ) {
            let mut row = row(dependencies);
            let mut now = T0;
            for (want, secs) in wants {
                let want = WANTS[want];
                now = now.plus(Duration::from_secs(secs));
                if want == Want::DependencyCompleted && row.open_dependencies == 0 {
                    continue;
                }
                match act(&row, want, now) {
                    Ok((next, events)) => {
                        prop_assert!(is_drawn(row.task.status, want, next.task.status), "{want:?}: {row:?}");
                        check_shape(&next);
                        prop_assert!(next.task.attempt >= row.task.attempt);
                        prop_assert!(next.task.attempt == row.task.attempt || want == Want::Claim);
                        let burns = matches!(want, Want::Fail | Want::Expire);
                        prop_assert!(next.task.retry_count <= row.task.retry_count || burns);
                        let moved = next.task.status != row.task.status;
                        let told = !events.is_empty();
                        prop_assert!(!moved || told || want == Want::DependencyCompleted, "{want:?} is silent");
                        row = next;
                    }
                    Err(error) => prop_assert!(matches!(error, Error::Conflict { .. }), "{want:?}: {error:?}"),
                }
            }
        }
    }

    #[test]
    fn a_task_gets_one_attempt_more_than_its_retries() {
        let mut row = row(0);
        let mut now = T0;
        let mut waits = Vec::new();
        loop {
            row = act(&row, Want::Claim, now).unwrap().0;
            row = act(&row, Want::Fail, now).unwrap().0;
            let Some(at) = row.task.retry_at else { break };
            assert!(act(&row, Want::Claim, now).is_err(), "the backoff holds");
            waits.push(at.since(now).as_secs());
            now = at;
        }
        assert_eq!((waits, row.task.attempt), (vec![5, 10], 3));
        assert_eq!(row.task.status, TaskStatus::Failed);
        assert_eq!(row.task.fail_reason.as_deref(), Some(MAX_RETRIES_EXCEEDED));
        let back = act(&row, Want::Requeue, now).unwrap().0;
        assert_eq!((back.task.attempt, back.task.retry_count, back.task.fail_reason), (3, 0, None));
    }

    #[test]
    fn policy_cannot_pass_the_count() {
        let claimed = act(&row(0), Want::Claim, T0).unwrap().0;
        let early = Ending::Failed { error: String::new(), next: Next::DeadLetter };
        assert!(matches!(step(&claimed, &Action::End(&early), T0), Err(Error::Invalid { .. })));
        let mut spent = claimed;
        spent.task.retry_count = 2;
        let more = Ending::Failed { error: String::new(), next: Next::RetryAt(T0) };
        assert!(matches!(step(&spent, &Action::End(&more), T0), Err(Error::Invalid { .. })));
    }

    #[test]
    fn an_expired_attempt_may_still_complete_until_somebody_touches_the_task() {
        let claimed = act(&row(0), Want::Claim, T0).unwrap().0;
        let after = T0.plus(Duration::from_mins(1));
        assert!(act(&claimed, Want::Expire, T0).unwrap_err().is_conflict(ConflictCode::LeaseLive));
        let lapsed = act(&claimed, Want::Expire, after).unwrap().0;
        assert_eq!((lapsed.task.status, lapsed.task.retry_count), (TaskStatus::Pending, 1));
        assert_eq!(act(&lapsed, Want::Complete, after).unwrap().0.task.status, TaskStatus::Completed);
        let edited = act(&lapsed, Want::Edit, after).unwrap().0;
        assert!(act(&edited, Want::Complete, after).is_err());
    }

    #[test]
    fn both_causes_of_a_block_must_clear() {
        let blocked = act(&row(1), Want::Block, T0).unwrap().0;
        let unblocked = act(&blocked, Want::Unblock, T0).unwrap().0;
        assert_eq!(unblocked.task.status, TaskStatus::Blocked);
        let free = act(&unblocked, Want::DependencyCompleted, T0).unwrap().0;
        assert_eq!((free.task.status, free.ready), (TaskStatus::Pending, true));
        let by_hand = act(&blocked, Want::DependencyCompleted, T0).unwrap().0;
        assert_eq!(by_hand.task.status, TaskStatus::Blocked);
        assert_eq!(act(&by_hand, Want::Unblock, T0).unwrap().0.task.status, TaskStatus::Pending);
    }

    #[test]
    fn why_a_task_waits() {
        let reason =
            |row: &TaskRow, now, open: &[(TaskId, TaskStatus)]| pending_reason(row, now, open, None).unwrap();
        let open = [("d".parse().unwrap(), TaskStatus::Pending), ("e".parse().unwrap(), TaskStatus::Failed)];
        let blocked = reason(&row(2), T0, &open);
        assert_eq!(
            (blocked.code.as_str(), blocked.detail.as_str()),
            ("dependency", "waits for task e, which is failed and 1 more")
        );
        assert_eq!(reason(&row(0), T0, &[]).code, "queued");
        let claimed = act(&row(0), Want::Claim, T0).unwrap().0;
        assert_eq!(pending_reason(&claimed, T0, &[], None), None);
        let failed = act(&claimed, Want::Fail, T0).unwrap().0;
        assert_eq!(reason(&failed, T0, &[]).code, "backoff");
        assert_eq!(reason(&failed, T0, &[]).retry_at, Some(T0.plus(Duration::from_secs(5))));
        let deferred = act(&row(0), Want::Defer, T0).unwrap().0;
        assert_eq!(reason(&deferred, T0, &[]).code, "deferred");
    }
}
