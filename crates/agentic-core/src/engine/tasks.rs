//! The transitions of tasks.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::Rows;
use crate::{
    attempt::{Attempt, AttemptOutcome, Ending},
    clock::Timestamp,
    error::{ConflictCode, Error, Kind, Result},
    event::{EventType, NewEvent},
    id::{AgentId, JobId, TaskId},
    machine::{self, Action, TaskRow},
    port::{
        Block, CancelTask, Claim, CreateMany, Created, Defer, Edit, EndAttempt, Finished, ParkLane, Progress,
        Renew, StartAttempt, Unpark, Wake,
    },
    task::{BlockCause, MAX_BATCH, MAX_BLOCKERS, NewTask, PendingReason, Task, TaskStatus},
};

/// See [`crate::port::TaskStore::create_many`].
pub fn create_many(rows: &mut dyn Rows, create: &CreateMany) -> Result<Vec<Created>> {
    let CreateMany { tasks, rehearse, now } = create;
    if tasks.is_empty() || tasks.len() > MAX_BATCH {
        return Err(Error::invalid("tasks", "must be 1 to 1000"));
    }
    check_distinct(tasks)?;
    let mut replays = BTreeMap::new();
    for task in tasks {
        task.validate()?;
        if let Some(before) = replay(rows, task)? {
            replays.insert(task.id.clone(), before);
        } else if rows.task(&task.id)?.is_some() {
            return Err(Error::conflict(ConflictCode::Exists, format!("task {} exists already", task.id)));
        }
    }
    let fresh: BTreeMap<TaskId, &NewTask> = tasks
        .iter()
        .filter(|task| !replays.contains_key(&task.id))
        .map(|task| (task.id.clone(), task))
        .collect();
    check_acyclic(&fresh)?;
    let mut waiting: BTreeMap<TaskId, usize> = BTreeMap::new();
    let mut made = Vec::with_capacity(fresh.len());
    for task in tasks.iter().filter(|task| fresh.contains_key(&task.id)) {
        made.push(new_row(rows, task, &fresh, &replays, &mut waiting, *now)?);
    }
    let mut created: BTreeMap<TaskId, Task> = BTreeMap::new();
    for row in made {
        if *rehearse {
            let pending_reason = why(rows, &row, &fresh, *now)?;
            created.insert(row.task.id.clone(), Task { pending_reason, ..row.task });
            continue;
        }
        created.insert(row.task.id.clone(), row.task.clone());
        let payload = json!({ "title": row.task.title, "status": row.task.status });
        let event = NewEvent::new(EventType::TaskCreated, *now).task(&row.task.id).payload(payload);
        rows.put_task(row)?;
        rows.append_event(event)?;
    }
    let answer = |task: &NewTask| match created.remove(&task.id) {
        Some(task) => Ok(Created { task, replayed: false }),
        None => match replays.remove(&task.id) {
            Some(row) => Ok(Created { task: row.task, replayed: true }),
            None => Err(Error::backend("create: a task of the batch was lost")),
        },
    };
    tasks.iter().map(answer).collect()
}

/// Why a task would wait that is not created, as if it were the only one.
fn why(
    rows: &mut dyn Rows,
    row: &TaskRow,
    fresh: &BTreeMap<TaskId, &NewTask>,
    now: Timestamp,
) -> Result<Option<PendingReason>> {
    let mut open = Vec::new();
    for id in &row.task.dependencies {
        let status =
            if fresh.contains_key(id) { TaskStatus::Pending } else { existing(rows, id)?.task.status };
        if status != TaskStatus::Completed {
            open.push((id.clone(), status));
        }
    }
    Ok(machine::pending_reason(row, now, &open, None))
}

fn check_distinct(tasks: &[NewTask]) -> Result<()> {
    let ids: BTreeSet<_> = tasks.iter().map(|task| &task.id).collect();
    if ids.len() != tasks.len() {
        return Err(Error::invalid("id", "must not stand twice in one batch"));
    }
    let keys: Vec<_> = tasks.iter().filter_map(|task| task.idempotency_key.as_ref()).collect();
    if keys.iter().collect::<BTreeSet<_>>().len() != keys.len() {
        return Err(Error::invalid("idempotency_key", "must not stand twice in one batch"));
    }
    Ok(())
}

/// The task that the same request created before, if its key came before.
fn replay(rows: &mut dyn Rows, task: &NewTask) -> Result<Option<TaskRow>> {
    let Some(key) = &task.idempotency_key else { return Ok(None) };
    let Some(id) = rows.task_by_key(key)? else { return Ok(None) };
    let row = existing(rows, &id)?;
    if row.request_digest != task.digest() {
        let detail = format!("idempotency key {key:?} came with another request before; use a new key");
        return Err(Error::conflict(ConflictCode::IdempotencyMismatch, detail));
    }
    Ok(Some(row))
}

/// Refuses dependencies that go round; only a batch can hold such, since dependencies are fixed at creation.
fn check_acyclic(fresh: &BTreeMap<TaskId, &NewTask>) -> Result<()> {
    let inside = |task: &NewTask| task.dependencies.iter().filter(|id| fresh.contains_key(*id)).count();
    let mut open: BTreeMap<&TaskId, usize> = fresh.iter().map(|(id, task)| (id, inside(task))).collect();
    let mut dependents: BTreeMap<&TaskId, Vec<&TaskId>> = BTreeMap::new();
    for (id, task) in fresh {
        for dependency in &task.dependencies {
            dependents.entry(dependency).or_default().push(id);
        }
    }
    let mut free: Vec<&TaskId> = open.iter().filter(|(_, n)| **n == 0).map(|(id, _)| *id).collect();
    while let Some(id) = free.pop() {
        open.remove(id);
        for dependent in dependents.get(id).into_iter().flatten() {
            if let Some(n) = open.get_mut(*dependent) {
                *n -= 1;
                if *n == 0 {
                    free.push(dependent);
                }
            }
        }
    }
    match open.keys().next() {
        Some(id) => Err(Error::invalid("dependencies", format!("of task {id} lead back to it"))),
        None => Ok(()),
    }
}

fn new_row(
    rows: &mut dyn Rows,
    new: &NewTask,
    fresh: &BTreeMap<TaskId, &NewTask>,
    replays: &BTreeMap<TaskId, TaskRow>,
    waiting: &mut BTreeMap<TaskId, usize>,
    now: Timestamp,
) -> Result<TaskRow> {
    let mut task = new.clone().into_task(now);
    let mut open_dependencies = 0;
    for dependency in &mut task.dependencies {
        // A task that was replayed under another id is depended on under that one.
        if let Some(row) = replays.get(dependency) {
            *dependency = row.task.id.clone();
        }
        let status = if fresh.contains_key(dependency) {
            TaskStatus::Pending
        } else {
            let missing = || Error::invalid("dependencies", format!("task {dependency} does not exist"));
            rows.task(dependency)?.ok_or_else(missing)?.task.status
        };
        let waits = if let Some(waits) = waiting.get_mut(dependency) {
            waits
        } else {
            let before = rows.dependents(dependency)?.len();
            waiting.entry(dependency.clone()).or_insert(before)
        };
        *waits += 1;
        if *waits > MAX_BLOCKERS {
            let detail = format!("task {dependency} has 1000 tasks that wait for it already");
            return Err(Error::invalid("dependencies", detail));
        }
        open_dependencies += u32::from(status != TaskStatus::Completed);
    }
    if open_dependencies > 0 {
        task.blocked_by.insert(BlockCause::Dependency);
        task.status = TaskStatus::Blocked;
    }
    let ready = task.status == TaskStatus::Pending && task.ready_at() <= now;
    Ok(TaskRow {
        task,
        open_dependencies,
        lapsed: false,
        ready,
        deferred: None,
        request_digest: new.digest(),
    })
}

/// See [`crate::port::TaskStore::promote_due`].
pub fn promote_due(rows: &mut dyn Rows, now: Timestamp, limit: usize) -> Result<usize> {
    let due = rows.due(now, limit)?;
    for id in &due {
        let row = existing(rows, id)?;
        apply(rows, &row, &Action::Promote, now)?;
    }
    Ok(due.len())
}

/// See [`crate::port::TaskStore::park`].
pub fn park(rows: &mut dyn Rows, park: &ParkLane) -> Result<()> {
    check_seen(rows, park.seen)?;
    let before = rows.park(&park.lane)?;
    let same = |before: &crate::lane::Park| {
        before.reason.code == park.park.reason.code && before.scope == park.park.scope
    };
    let told = before.as_ref().is_some_and(same);
    if before.is_some_and(|before| before.reason == park.park.reason && before.scope == park.park.scope) {
        return Ok(());
    }
    rows.put_park(&park.lane, Some(park.park.clone()))?;
    append(rows, if told { Vec::new() } else { park.events.clone() })
}

/// Refuses what was decided before the latest wake-up.
fn check_seen(rows: &mut dyn Rows, seen: u64) -> Result<()> {
    if rows.wake()? > seen { Err(newer_wake()) } else { Ok(()) }
}

/// What a decision to let something wait is answered after a wake-up that it did not see.
pub fn newer_wake() -> Error {
    Error::conflict(ConflictCode::NewerWake, "something was woken since the lanes were read")
}

/// See [`crate::port::TaskStore::unpark`].
pub fn unpark(rows: &mut dyn Rows, unpark: &Unpark) -> Result<usize> {
    let lanes = rows.parked(&unpark.wake, unpark.limit)?;
    for lane in &lanes {
        rows.put_park(lane, None)?;
    }
    let tasks = match unpark.wake {
        Wake::Lane(_) => Vec::new(),
        Wake::Scope(_) | Wake::All => rows.deferred(unpark.limit.saturating_sub(lanes.len()))?,
    };
    for id in &tasks {
        let row = existing(rows, id)?;
        apply(rows, &row, &Action::Wake, row.task.updated_at)?;
    }
    rows.bump_wake()?;
    Ok(lanes.len() + tasks.len())
}

/// See [`crate::port::TaskStore::claim`].
pub fn claim(rows: &mut dyn Rows, claim: &Claim) -> Result<Task> {
    let prepared = prepare_claim(rows, claim)?;
    commit_claim(rows, claim, prepared)
}

/// The checks of a claim, without a write.
pub(super) fn prepare_claim(rows: &mut dyn Rows, claim: &Claim) -> Result<(TaskRow, Vec<NewEvent>)> {
    let row = existing(rows, &claim.job.task)?;
    let action = Action::Claim {
        agent: &claim.agent_id,
        attempt: claim.job.attempt,
        expires_at: claim.expires_at,
        dispatched: claim.dispatched,
    };
    machine::step(&row, &action, claim.now)
}

/// The writes of a claim.
pub(super) fn commit_claim(
    rows: &mut dyn Rows,
    claim: &Claim,
    (row, events): (TaskRow, Vec<NewEvent>),
) -> Result<Task> {
    let task = row.task.clone();
    rows.put_task(row)?;
    rows.put_attempt(Attempt {
        id: claim.job.clone(),
        agent_id: claim.agent_id.clone(),
        incarnation: claim.incarnation.unwrap_or(0),
        claimed_at: claim.now,
        lease: claim.lease,
        deadline: claim.deadline,
        started_at: (!claim.dispatched).then_some(claim.now),
        ended_at: None,
        outcome: None,
        digest: None,
        late_digest: None,
    })?;
    append(rows, events)?;
    Ok(task)
}

/// See [`crate::port::TaskStore::start`]. Says also whether it started only now.
pub fn start(rows: &mut dyn Rows, start: &StartAttempt) -> Result<(Task, bool)> {
    let (task, attempt, only_now) = prepare_start(rows, start)?;
    if only_now {
        rows.put_attempt(attempt)?;
    }
    Ok((task, only_now))
}

/// The checks of a start, without a write: the task, its started attempt, and whether that must be stored.
pub(super) fn prepare_start(rows: &mut dyn Rows, start: &StartAttempt) -> Result<(Task, Attempt, bool)> {
    let row = existing(rows, &start.job.task)?;
    machine::check_holder(&row.task, start.agent_id.as_ref(), Some(start.job.attempt))?;
    let mut attempt = current_attempt(rows, &row.task)?;
    if start.incarnation.is_some_and(|incarnation| incarnation != attempt.incarnation) {
        let detail = format!("attempt {} belongs to another start of agent {}", attempt.id, attempt.agent_id);
        return Err(Error::conflict(ConflictCode::StaleIncarnation, detail));
    }
    if attempt.started_at.is_some() {
        return Ok((row.task, attempt, false));
    }
    if row.task.lease_expires_at.is_some_and(|at| at <= start.now) {
        let detail = format!("the lease of attempt {} ran out before it started", attempt.id);
        return Err(Error::conflict(ConflictCode::LeaseLost, detail));
    }
    attempt.started_at = Some(start.now);
    Ok((row.task, attempt, true))
}

/// See [`crate::port::TaskStore::renew`].
pub fn renew(rows: &mut dyn Rows, renew: &Renew) -> Result<Task> {
    let row = existing(rows, &renew.job.task)?;
    machine::check_holder(&row.task, Some(&renew.agent_id), Some(renew.job.attempt))?;
    apply(rows, &row, &Action::Renew { expires_at: renew.expires_at }, renew.now)
}

/// See [`crate::port::TaskStore::progress`].
pub fn progress(rows: &mut dyn Rows, progress: &Progress) -> Result<Task> {
    let row = existing(rows, &progress.task)?;
    machine::check_holder(&row.task, progress.agent_id.as_ref(), progress.attempt)?;
    let action = Action::Progress { progress: progress.progress, notes: progress.notes.as_deref() };
    apply(rows, &row, &action, progress.now)
}

/// See [`crate::port::TaskStore::edit`].
pub fn edit(rows: &mut dyn Rows, edit: &Edit) -> Result<Task> {
    edit.edit.validate()?;
    let row = existing(rows, &edit.task)?;
    let task = apply(rows, &row, &Action::Edit(&edit.edit), edit.now)?;
    unpark(rows, &Unpark { wake: Wake::Lane(task.lane()), limit: 1 })?;
    Ok(task)
}

/// See [`crate::port::TaskStore::defer`].
pub fn defer(rows: &mut dyn Rows, defer: &Defer) -> Result<Task> {
    let row = existing(rows, &defer.task)?;
    if row.task.attempt != defer.attempt {
        let detail = format!("task {} is at attempt {}", row.task.id, row.task.attempt);
        return Err(Error::conflict(ConflictCode::StaleAttempt, detail));
    }
    if let Some(seen) = defer.seen {
        check_seen(rows, seen)?;
    }
    apply(rows, &row, &Action::Defer { reason: &defer.reason, until: defer.until }, defer.now)
}

/// See [`crate::port::TaskStore::block`].
pub fn block(rows: &mut dyn Rows, block: &Block) -> Result<Task> {
    let row = existing(rows, &block.task)?;
    let action = match &block.reason {
        Some(reason) => Action::Block { reason },
        None => Action::Unblock,
    };
    apply(rows, &row, &action, block.now)
}

/// See [`crate::port::TaskStore::cancel`].
pub fn cancel(rows: &mut dyn Rows, cancel: &CancelTask) -> Result<Task> {
    let outcome = match cancel.status {
        TaskStatus::Cancelled => AttemptOutcome::Cancelled,
        TaskStatus::Failed => AttemptOutcome::Failed,
        other => return Err(Error::invalid("status", format!("cannot be {other}"))),
    };
    let row = existing(rows, &cancel.task)?;
    let was_running = row.task.status == TaskStatus::InProgress;
    let task =
        apply(rows, &row, &Action::Close { status: cancel.status, reason: &cancel.reason }, cancel.now)?;
    if was_running {
        let attempt = current_attempt(rows, &task)?;
        rows.put_attempt(Attempt { ended_at: Some(cancel.now), outcome: Some(outcome), ..attempt })?;
    }
    Ok(task)
}

/// See [`crate::port::TaskStore::requeue`].
pub fn requeue(rows: &mut dyn Rows, id: &TaskId, now: Timestamp) -> Result<Task> {
    let row = existing(rows, id)?;
    apply(rows, &row, &Action::Requeue, now)
}

/// See [`crate::port::TaskStore::end_attempt`].
pub fn end_attempt(rows: &mut dyn Rows, end: &EndAttempt) -> Result<Finished> {
    let verdict = judge(rows, end)?;
    carry_out(rows, end, verdict)
}

/// What the fence says of the end of an attempt (design §5).
#[derive(Debug)]
pub(super) enum Verdict {
    /// It was ended in the same way before, and nothing came after.
    Repeated(Box<TaskRow>),
    /// It ends now: the task as it must be stored.
    Accepted { row: Box<TaskRow>, events: Vec<NewEvent>, attempt: Attempt },
    /// It is over; a result that was sent is kept unless it was before.
    Late { attempt: Attempt, code: ConflictCode, detail: String, holder: Option<AgentId>, keep: bool },
}

/// Holds the end of an attempt against the fence, without a write.
pub(super) fn judge(rows: &mut dyn Rows, end: &EndAttempt) -> Result<Verdict> {
    let row = existing(rows, &end.task)?;
    let task = &row.task;
    if end.attempt.is_none() {
        // Without a fence only the present holder can mean the present attempt, or repeat what ended it.
        let ended =
            rows.attempt(&JobId::new(task.id.clone(), task.attempt))?.and_then(|attempt| attempt.digest);
        if ended.as_deref() != Some(end.ending.digest().as_str()) {
            machine::check_holder(task, end.agent_id.as_ref(), None)?;
        }
    }
    let fence = end.attempt.unwrap_or(task.attempt);
    let Some(attempt) = rows.attempt(&JobId::new(task.id.clone(), fence))? else {
        let detail = format!("task {} has no attempt {fence}", task.id);
        return Err(Error::conflict(ConflictCode::StaleAttempt, detail));
    };
    if end.agent_id.as_ref().is_some_and(|agent| *agent != attempt.agent_id) {
        return Err(Error::Conflict {
            code: ConflictCode::NotHolder,
            detail: format!("attempt {} belongs to agent {}", attempt.id, attempt.agent_id),
            holder: Some(attempt.agent_id),
        });
    }
    let digest = end.ending.digest();
    let current = fence == task.attempt;
    let repeated = attempt.digest.as_ref() == Some(&digest);
    if current && repeated {
        return Ok(Verdict::Repeated(Box::new(row)));
    }
    let revives = row.lapsed && end.ending.proves_start();
    if current && (attempt.ended_at.is_none() || revives) {
        let mut held = row.clone();
        held.task.claimed_by = Some(attempt.agent_id.clone());
        let (row, events) = machine::step(&held, &Action::End(&end.ending), end.now)?;
        let attempt = Attempt {
            started_at: attempt.started_at.or(end.ending.proves_start().then_some(end.now)),
            ended_at: Some(end.now),
            outcome: Some(end.ending.outcome()),
            digest: Some(digest),
            ..attempt
        };
        return Ok(Verdict::Accepted { row: Box::new(row), events, attempt });
    }
    let (code, detail) = if current {
        (ConflictCode::AlreadyEnded, format!("attempt {} was ended otherwise", attempt.id))
    } else {
        let detail =
            format!("attempt {} is over; task {} is at attempt {}", attempt.id, task.id, task.attempt);
        (ConflictCode::StaleAttempt, detail)
    };
    let holder = task.claimed_by.clone().filter(|_| task.status == TaskStatus::InProgress);
    if matches!(end.ending, Ending::Expired { .. }) {
        return Err(Error::Conflict { code, detail, holder });
    }
    // What was given back brings nothing to review.
    let brings = end.ending.proves_start();
    let keep = brings && !repeated && attempt.late_digest.as_ref() != Some(&digest);
    Ok(Verdict::Late { attempt, code, detail, holder, keep })
}

/// Writes what a verdict comes to.
pub(super) fn carry_out(rows: &mut dyn Rows, end: &EndAttempt, verdict: Verdict) -> Result<Finished> {
    match verdict {
        Verdict::Repeated(row) => Ok(Finished::Accepted(Box::new(row.task))),
        Verdict::Accepted { row, events, attempt } => {
            let task = row.task.clone();
            rows.put_task(*row)?;
            rows.put_attempt(attempt)?;
            append(rows, events)?;
            if task.status == TaskStatus::Completed {
                release_dependents(rows, &task.id, end.now)?;
            }
            Ok(Finished::Accepted(Box::new(task)))
        }
        Verdict::Late { attempt, code, detail, holder, keep } => {
            if keep {
                let payload = json!({ "attempt": attempt.id.attempt, "code": code, "sent": end.ending });
                let event = NewEvent::new(EventType::LateResult, end.now).task(&end.task);
                rows.append_event(event.agent(&attempt.agent_id).payload(payload))?;
                rows.put_attempt(Attempt { late_digest: Some(end.ending.digest()), ..attempt })?;
            }
            Ok(Finished::Late { code, detail, holder })
        }
    }
}

fn release_dependents(rows: &mut dyn Rows, id: &TaskId, now: Timestamp) -> Result<()> {
    for dependent in rows.dependents(id)? {
        let row = existing(rows, &dependent)?;
        apply(rows, &row, &Action::DependencyCompleted, now)?;
    }
    Ok(())
}

/// Steps a task and writes what came of it.
fn apply(rows: &mut dyn Rows, row: &TaskRow, action: &Action<'_>, now: Timestamp) -> Result<Task> {
    let (next, events) = machine::step(row, action, now)?;
    let task = next.task.clone();
    if next != *row {
        rows.put_task(next)?;
    }
    append(rows, events)?;
    Ok(task)
}

fn append(rows: &mut dyn Rows, events: Vec<NewEvent>) -> Result<()> {
    events.into_iter().try_for_each(|event| rows.append_event(event))
}

pub(super) fn existing(rows: &mut dyn Rows, id: &TaskId) -> Result<TaskRow> {
    rows.task(id)?.ok_or_else(|| Error::not_found(Kind::Task, id))
}

fn current_attempt(rows: &mut dyn Rows, task: &Task) -> Result<Attempt> {
    let id = JobId::new(task.id.clone(), task.attempt);
    rows.attempt(&id)?.ok_or_else(|| Error::backend(format!("task {}: its attempt is missing", task.id)))
}
