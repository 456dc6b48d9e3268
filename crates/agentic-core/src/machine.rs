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
            enqueue(&mut next, now);
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

fn check_claimable(task: &Task, attempt: u32, now: Timestamp) -> Result<()> {
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
