//! The transitions of jobs, and those that touch a job and its task together.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::{
    Rows,
    agents::{self, check_incarnation},
    tasks::{self, Verdict},
};
use crate::{
    agent::AgentStatus,
    allowance::UsageAnswer,
    amount::Amount,
    attempt::{Attempt, AttemptOutcome},
    clock::Timestamp,
    error::{ConflictCode, Error, Kind, Result},
    event::{EventType, NewEvent},
    id::{AgentId, JobId},
    job::{Entry, EntryKind, Growth, Job, JobOutcome, JobState, Line, Move},
    limit::{Limit, Meter, MeterKey, Reading, Scope, Window, used},
    machine::{self, Action},
    port::{
        Admission, Assign, Assigned, Beat, BeatAnswer, BeatAttempt, Claim, Difference, Extend, Finish,
        Finished, Heard, Replan, Report, ResetUsage, Settle, StartAttempt, StartJob, VoidJob,
    },
    task::{Task, TaskStatus},
    usage::{Directive, Figures, WARNING_PERCENT},
};

/// The most attempts that one heartbeat names.
pub const MAX_BEAT: usize = 1_000;

/// See [`crate::port::AllowanceStore::readings`].
pub fn reading(rows: &mut dyn Rows, key: &MeterKey, now: Timestamp) -> Result<Reading> {
    let (from, to) = key.window.span(now);
    let buckets = if key.window == Window::Live { Vec::new() } else { rows.buckets(key, from, to)? };
    let reserved = rows.held(&key.scope, now)?.of(key.meter);
    Ok(Reading { used: used(&buckets), reserved, buckets })
}

/// See [`crate::port::AllowanceStore::admit`].
pub fn admit(rows: &mut dyn Rows, admission: &Admission) -> Result<Job> {
    match prepare_admission(rows, admission, false)? {
        Prepared::Again(job) => Ok(job),
        Prepared::Fresh(job) => {
            rows.put_job(job.clone())?;
            Ok(job)
        }
    }
}

/// An admission that was checked: the one that stands already, or the one to write.
enum Prepared {
    Again(Job),
    Fresh(Job),
}

/// `fresh`: the task's fence says that there was no such attempt of it before, so that a job of that name which is over
/// was an earlier task's with the same id. Where the task lives elsewhere, its creation says so.
fn prepare_admission(rows: &mut dyn Rows, admission: &Admission, fresh: bool) -> Result<Prepared> {
    let now = admission.now;
    // What nobody admitted keeps nobody out: it is charged, and anybody may have reported it.
    if let Some(job) = rows.job(&admission.job)?.filter(|job| !job.unadmitted) {
        let holds = job.is_live(now);
        if holds && job.admission == admission.id {
            return Ok(Prepared::Again(job));
        }
        let other = matches!((job.task_created_at, admission.task_created_at), (Some(a), Some(b)) if a != b);
        if holds || (!fresh && !other && matches!(job.state, JobState::Started | JobState::Settled)) {
            let detail = format!("job {} was admitted already", job.id);
            return Err(Error::conflict(ConflictCode::AlreadyAdmitted, detail));
        }
    }
    find_room(rows, &admission.limits, admission.ask, now)?;
    let line = Line {
        model: admission.model.clone(),
        price: admission.price,
        limits: admission.limits.clone(),
        high: Figures::default(),
        cost: Amount::ZERO,
    };
    Ok(Prepared::Fresh(Job {
        id: admission.job.clone(),
        admission: admission.id.clone(),
        agent_id: admission.agent_id.clone(),
        project: admission.project.clone(),
        task_created_at: admission.task_created_at,
        ask: admission.ask,
        admitted_at: now,
        expires_at: admission.expires_at,
        started_at: None,
        ended_at: None,
        state: JobState::Reserved,
        outcome: None,
        lines: vec![line],
        charges: Vec::new(),
        stopped: false,
        unadmitted: false,
        late: false,
    }))
}

fn find_room(rows: &mut dyn Rows, limits: &[Limit], ask: Amount, now: Timestamp) -> Result<()> {
    for limit in limits.iter().filter(|limit| limit.cap.is_some()) {
        let (from, to) = limit.key.window.span(now);
        let live = limit.key.window == Window::Live;
        let buckets = if live { Vec::new() } else { rows.buckets(&limit.key, from, to)? };
        let held = rows.held(&limit.key.scope, now)?;
        limit.admit(&buckets, &held, ask).map_err(Error::Refused)?;
    }
    Ok(())
}

/// See [`crate::port::AllowanceStore::start`].
pub fn start_job(rows: &mut dyn Rows, start: &StartJob) -> Result<Job> {
    let mut job = existing(rows, &start.job)?;
    let lost = || {
        let detail = format!("the reservation of job {} ended before it started", start.job);
        Err(Error::conflict(ConflictCode::LeaseLost, detail))
    };
    match job.state {
        JobState::Started => return Ok(job),
        JobState::Reserved if job.is_live(start.now) => {}
        JobState::Settled if job.started_at.is_some() => return Ok(job),
        JobState::Reserved | JobState::Void | JobState::Settled => return lost(),
    }
    mark_started(rows, &mut job, start.now)?;
    rows.put_job(job.clone())?;
    Ok(job)
}

/// See [`crate::port::AllowanceStore::extend`].
pub fn extend(rows: &mut dyn Rows, extend: &Extend) -> Result<Job> {
    let mut job = existing(rows, &extend.job)?;
    hold_longer(rows, &mut job, extend.expires_at, extend.now)?;
    rows.put_job(job.clone())?;
    Ok(job)
}

/// Extends an open job; one that has run out retakes its place, if there is room.
fn hold_longer(rows: &mut dyn Rows, job: &mut Job, expires_at: Timestamp, now: Timestamp) -> Result<()> {
    if !job.state.is_open() {
        let detail = format!("job {} is over", job.id);
        return Err(Error::conflict(ConflictCode::LeaseLost, detail));
    }
    if !job.is_live(now) && !job.unadmitted {
        // Only what it would hold again: a started job has used its job and its request already.
        let started = job.state == JobState::Started;
        let retakes = |meter| match meter {
            Meter::Jobs | Meter::Requests => !started,
            Meter::Tokens | Meter::ActiveJobs => true,
            Meter::Cost => false,
        };
        let line = job.lines.first();
        let limits: Vec<Limit> = line
            .iter()
            .flat_map(|line| &line.limits)
            .filter(|limit| retakes(limit.key.meter))
            .cloned()
            .collect();
        find_room(rows, &limits, job.held().tokens, now)?;
    }
    job.expires_at = job.expires_at.max(expires_at);
    Ok(())
}

/// See [`crate::port::AllowanceStore::replan`].
pub fn replan(rows: &mut dyn Rows, replan: &Replan) -> Result<Job> {
    let mut job = existing(rows, &replan.job)?;
    if let Some(line) = job.lines.first_mut()
        && job.state.is_open()
    {
        line.limits.clone_from(&replan.limits);
        rows.put_job(job.clone())?;
    }
    Ok(job)
}

/// See [`crate::port::AllowanceStore::report`].
pub fn report(rows: &mut dyn Rows, report: &Report) -> Result<UsageAnswer> {
    let Report { now, .. } = *report;
    let mut job = match rows.job(&report.job)? {
        Some(job) => job,
        None => unadmitted(rows, report)?,
    };
    if job.unadmitted && job.state.is_open() {
        job.expires_at = job.expires_at.max(report.expires_at);
    }
    if job.state == JobState::Reserved {
        mark_started(rows, &mut job, now)?;
    }
    let line = match &report.model {
        Some(model) => job.lines.iter().position(|line| line.model.as_ref() == Some(model)),
        None => Some(0),
    };
    let line = line.unwrap_or_else(|| {
        job.lines.push(Line {
            model: report.model.clone(),
            price: report.price,
            limits: report.limits.clone(),
            high: Figures::default(),
            cost: Amount::ZERO,
        });
        job.lines.len() - 1
    });
    // Nobody else brings the limits of what was not admitted up to date.
    if let Some(line) = job.lines.get_mut(line).filter(|_| line > 0 || job.unadmitted) {
        line.limits.clone_from(&report.limits);
    }
    charge(rows, &mut job, line, report.figures, now)?;
    let stopped = job.stopped;
    let mut answer = stand(rows, &mut job, line, now)?;
    if let Some(reason) = report.stop.as_ref().filter(|_| job.state.is_open()) {
        if !stopped {
            told(rows, &job, "job_stopped", now, json!({ "reason": reason }))?;
        }
        job.stopped = true;
        (answer.directive, answer.reason) = (Directive::Stop, Some(reason.clone()));
    }
    rows.put_job(job)?;
    Ok(answer)
}

/// A job that nobody admitted: charged as if it had started now, and holding nothing.
fn unadmitted(rows: &mut dyn Rows, report: &Report) -> Result<Job> {
    let line = Line {
        model: report.model.clone(),
        price: report.price,
        limits: report.limits.clone(),
        high: Figures::default(),
        cost: Amount::ZERO,
    };
    let mut job = Job {
        id: report.job.clone(),
        admission: String::new(),
        agent_id: report.agent_id.clone(),
        project: None,
        task_created_at: None,
        ask: Amount::ZERO,
        admitted_at: report.now,
        expires_at: report.expires_at,
        started_at: None,
        ended_at: None,
        state: JobState::Reserved,
        outcome: None,
        lines: vec![line],
        charges: Vec::new(),
        stopped: false,
        unadmitted: true,
        late: false,
    };
    mark_started(rows, &mut job, report.now)?;
    Ok(job)
}

/// See [`crate::port::AllowanceStore::settle`].
pub fn settle(rows: &mut dyn Rows, settle: &Settle) -> Result<Job> {
    let mut job = existing(rows, &settle.job)?;
    if job.state.is_open() {
        close(rows, &mut job, settle.outcome, settle.now)?;
        rows.put_job(job.clone())?;
    }
    Ok(job)
}

/// See [`crate::port::AllowanceStore::void`].
pub fn void(rows: &mut dyn Rows, void: &VoidJob) -> Result<()> {
    match rows.job(&void.job)? {
        Some(job) if job.admission == void.admission && job.state == JobState::Reserved => {
            rows.put_job(Job { state: JobState::Void, ended_at: Some(void.now), ..job })
        }
        _ => Ok(()),
    }
}

/// See [`crate::port::AllowanceStore::reset_usage`].
pub fn reset_usage(rows: &mut dyn Rows, reset: &ResetUsage) -> Result<()> {
    let mut moves = Vec::new();
    for meter in [Meter::Tokens, Meter::Jobs] {
        let key = MeterKey { scope: Scope::Agent(reset.agent_id.clone()), meter, window: Window::Day };
        let bucket = key.window.bucket(reset.now);
        let stands = rows.buckets(&key, bucket, bucket)?.iter().map(|(_, value)| value).sum::<i64>();
        if stands != 0 {
            moves.push(Move { key, bucket, delta: -stands });
        }
    }
    rows.put_reset(&reset.agent_id, reset.now)?;
    let entry = Entry {
        kind: EntryKind::Reset,
        at: reset.now,
        job: None,
        agent_id: reset.agent_id.clone(),
        model: None,
        cost_source: None,
        moves,
    };
    book(rows, entry)
}

/// See [`crate::port::Ledger::assign`].
pub fn assign(rows: &mut dyn Rows, assign: &Assign) -> Result<Assigned> {
    let Assign { claim, admission } = assign;
    if claim.job != admission.job
        || claim.agent_id != admission.agent_id
        || claim.expires_at != admission.expires_at
    {
        return Err(Error::invalid("assign", "both halves must name the same job, agent and expiry"));
    }
    let prepared = tasks::prepare_claim(rows, claim)?;
    check_agent(rows, claim)?;
    let (Prepared::Again(mut job) | Prepared::Fresh(mut job)) = prepare_admission(rows, admission, true)?;
    if !claim.dispatched && job.state == JobState::Reserved {
        mark_started(rows, &mut job, claim.now)?;
    }
    rows.put_job(job)?;
    let task = tasks::commit_claim(rows, claim, prepared)?;
    Ok(Assigned { task })
}

/// Refuses an agent that may not be given work now; an agent that never registered may take some itself.
fn check_agent(rows: &mut dyn Rows, claim: &Claim) -> Result<()> {
    let refuse = |why: &str| {
        let detail = format!("agent {} {why}", claim.agent_id);
        Err(Error::conflict(ConflictCode::AgentUnavailable, detail))
    };
    let Some(row) = rows.agent(&claim.agent_id)?.filter(|row| !row.deregistered) else {
        let known = claim.incarnation.is_some() || claim.dispatched;
        return if known { refuse("is not registered") } else { Ok(()) };
    };
    check_incarnation(&row.info, claim.incarnation)?;
    if row.info.draining {
        return refuse("is draining");
    }
    if claim.dispatched && row.info.status == AgentStatus::Offline {
        return refuse("is offline");
    }
    Ok(())
}

/// See [`crate::port::Ledger::start`].
pub fn start(rows: &mut dyn Rows, start: &StartAttempt) -> Result<Task> {
    let (task, attempt, only_now) = tasks::prepare_start(rows, start)?;
    if only_now {
        start_job(rows, &StartJob { job: start.job.clone(), now: start.now })?;
        rows.put_attempt(attempt)?;
    }
    Ok(task)
}

/// See [`crate::port::Ledger::beat`].
pub fn beat(rows: &mut dyn Rows, beat: &Beat) -> Result<Vec<BeatAnswer>> {
    check_beat(beat)?;
    beat.attempts.iter().map(|attempt| beat_one(rows, beat, attempt)).collect()
}

/// Refuses a beat of too many attempts.
///
/// # Errors
/// `Invalid`.
pub fn check_beat(beat: &Beat) -> Result<()> {
    if beat.attempts.len() > MAX_BEAT {
        return Err(Error::invalid("attempts", "must be at most 1000"));
    }
    Ok(())
}

/// See [`crate::port::Ledger::heartbeat`].
pub fn heartbeat(rows: &mut dyn Rows, beat: &Beat) -> Result<Heard> {
    check_beat(beat)?;
    let mut agent = agents::heartbeat(rows, &beat.sign_of_life())?;
    let answers = self::beat(rows, beat)?;
    agent.set_load(load(rows, &beat.agent_id, beat.now)?);
    Ok(Heard { agent, answers })
}

/// How many live reservations an agent has; see [`crate::port::AllowanceStore::active_jobs`].
pub fn load(rows: &mut dyn Rows, agent: &AgentId, now: Timestamp) -> Result<u32> {
    let held = rows.held(&Scope::Agent(agent.clone()), now)?;
    Ok(u32::try_from(held.active.get()).unwrap_or(u32::MAX))
}

fn beat_one(rows: &mut dyn Rows, beat: &Beat, attempt: &BeatAttempt) -> Result<BeatAnswer> {
    let now = beat.now;
    let stop = |reason: &str| BeatAnswer {
        job: attempt.job.clone(),
        directive: Directive::Stop,
        reason: Some(reason.to_owned()),
        lease_expires_at: None,
        remaining_tokens: None,
        cost_micros: Amount::ZERO,
        cost_source: None,
    };
    let Some(mut job) = rows.job(&attempt.job)?.filter(|job| job.agent_id == beat.agent_id) else {
        return Ok(stop("lease_lost"));
    };
    let held = held_by(rows, beat, &attempt.job)?;
    let held = match held {
        Ok(row) => begin(rows, beat, &mut job)?.map(|record| (row, record)).ok_or("lease_lost"),
        Err(reason) => Err(reason),
    };
    if let Some(figures) = attempt.figures {
        charge(rows, &mut job, 0, figures, now)?;
    }
    let (cost_micros, cost_source) = (job.cost(), job.cost_source());
    let stop = |reason: &str| BeatAnswer { cost_micros, cost_source, ..stop(reason) };
    let (row, record) = match held {
        Ok(held) => held,
        Err(reason) => {
            rows.put_job(job)?;
            return Ok(stop(reason));
        }
    };
    let standing = stand(rows, &mut job, 0, now)?;
    let answer = if record.deadline.is_some_and(|deadline| deadline <= now) {
        stop("time_bound")
    } else if standing.directive == Directive::Stop {
        // A stopped attempt keeps its lease to come to an end in, and gets no longer one.
        BeatAnswer {
            lease_expires_at: row.task.lease_expires_at,
            ..stop(&standing.reason.unwrap_or_default())
        }
    } else {
        match hold_longer(rows, &mut job, record.renewed_until(now), now) {
            Ok(()) => {}
            Err(Error::Refused(_) | Error::Conflict { .. }) => {
                rows.put_job(job)?;
                return Ok(stop("lease_lost"));
            }
            Err(error) => return Err(error),
        }
        let (next, _) = machine::step(&row, &Action::Renew { expires_at: job.expires_at }, now)?;
        rows.put_task(next)?;
        BeatAnswer {
            job: attempt.job.clone(),
            directive: standing.directive,
            reason: standing.reason,
            lease_expires_at: Some(job.expires_at),
            remaining_tokens: standing.remaining_tokens,
            cost_micros,
            cost_source,
        }
    };
    rows.put_job(job)?;
    Ok(answer)
}

/// Starts the attempt of a job whose holder beats, if it has not; `None` when it ran out before, or is another
/// start's of the agent.
fn begin(rows: &mut dyn Rows, beat: &Beat, job: &mut Job) -> Result<Option<Attempt>> {
    let Beat { agent_id, incarnation, now, .. } = beat;
    let agent_id = Some(agent_id.clone());
    let start = StartAttempt { job: job.id.clone(), agent_id, incarnation: *incarnation, now: *now };
    let (attempt, only_now) = match tasks::prepare_start(rows, &start) {
        Ok((_, attempt, only_now)) => (attempt, only_now),
        Err(Error::Conflict { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    if only_now {
        if !job.is_live(*now) {
            return Ok(None);
        }
        if job.state == JobState::Reserved {
            mark_started(rows, job, *now)?;
        }
        rows.put_attempt(attempt.clone())?;
    }
    Ok(Some(attempt))
}

/// The task, if the agent holds this attempt of it; else why not.
fn held_by(
    rows: &mut dyn Rows,
    beat: &Beat,
    id: &JobId,
) -> Result<std::result::Result<machine::TaskRow, &'static str>> {
    let Some(row) = rows.task(&id.task)? else { return Ok(Err("lease_lost")) };
    if row.task.attempt == id.attempt && row.task.status == TaskStatus::Cancelled {
        return Ok(Err("cancelled"));
    }
    if machine::check_holder(&row.task, Some(&beat.agent_id), Some(id.attempt)).is_err() {
        return Ok(Err("lease_lost"));
    }
    Ok(Ok(row))
}

/// See [`crate::port::Ledger::finish`].
pub fn finish(rows: &mut dyn Rows, finish: &Finish) -> Result<Finished> {
    let now = finish.end.now;
    let verdict = tasks::judge(rows, &finish.end)?;
    let (id, outcome) = match &verdict {
        Verdict::Repeated(row) if finish.figures.is_none() => {
            return Ok(Finished::Accepted(Box::new(row.task.clone())));
        }
        Verdict::Repeated(row) => {
            (JobId::new(row.task.id.clone(), row.task.attempt), finish.end.ending.outcome().job_outcome())
        }
        Verdict::Accepted { attempt, .. } => (attempt.id.clone(), finish.end.ending.outcome().job_outcome()),
        Verdict::Late { attempt, .. } => {
            let recorded = attempt.outcome.map_or(JobOutcome::Failed, AttemptOutcome::job_outcome);
            (attempt.id.clone(), recorded)
        }
    };
    // A job that this store does not know was admitted elsewhere; its settlement is the saga's.
    if let Some(mut job) = rows.job(&id)? {
        if job.state == JobState::Reserved && finish.end.ending.proves_start() {
            mark_started(rows, &mut job, now)?;
        }
        if let Some(figures) = finish.figures {
            charge(rows, &mut job, 0, figures, now)?;
            stand(rows, &mut job, 0, now)?;
        }
        if job.state.is_open() {
            close(rows, &mut job, outcome, now)?;
        }
        rows.put_job(job)?;
    }
    tasks::carry_out(rows, &finish.end, verdict)
}

/// Turns the place into one used job and one used request.
fn mark_started(rows: &mut dyn Rows, job: &mut Job, now: Timestamp) -> Result<()> {
    job.state = JobState::Started;
    job.started_at = Some(now);
    let Some(line) = job.lines.first() else { return Ok(()) };
    let used = [(Meter::Jobs, Amount::ONE), (Meter::Requests, Amount::ONE)];
    spend(rows, job, line, EntryKind::Start, &used, now)?;
    told(rows, job, "job_started", now, json!({}))
}

/// Charges the growth of one line since its highest report.
fn charge(rows: &mut dyn Rows, job: &mut Job, index: usize, figures: Figures, now: Timestamp) -> Result<()> {
    let Some(line) = job.lines.get_mut(index) else {
        return Err(Error::backend(format!("job {} has no line {index}", job.id)));
    };
    // Its start counted one request of the model that it was admitted for.
    let counted = if index == 0 { Amount::ONE } else { Amount::ZERO };
    let growth = line.grow(figures, counted);
    if growth == Growth::default() {
        return Ok(());
    }
    // What used something has started, whatever became of its lease.
    if job.state == JobState::Reserved {
        mark_started(rows, job, now)?;
    }
    let Growth { tokens, cost, requests } = growth;
    let grown = [(Meter::Tokens, tokens), (Meter::Cost, cost), (Meter::Requests, requests)];
    spend(rows, job, &job.lines[index], EntryKind::Charge, &grown, now)?;
    if job.state.is_open() {
        let reset = if job.charges.is_empty() { None } else { rows.reset_at(&job.agent_id)? };
        job.note_charge(index, now, tokens, reset);
    } else {
        job.late = true;
    }
    Ok(())
}

/// Ends an open job: the refund, and the release of its place.
fn close(rows: &mut dyn Rows, job: &mut Job, outcome: JobOutcome, now: Timestamp) -> Result<()> {
    (job.outcome, job.ended_at) = (Some(outcome), Some(now));
    if job.state == JobState::Reserved {
        job.state = JobState::Void;
        return Ok(());
    }
    job.state = JobState::Settled;
    let (refunds, mut refunded) = (job.refunds(outcome), Amount::ZERO);
    let reset = if refunds.is_empty() { None } else { rows.reset_at(&job.agent_id)? };
    for charge in refunds {
        let Some(line) = job.lines.get(charge.line) else { continue };
        let daily: Vec<Limit> = line.limits.iter().filter(|limit| is_refunded(&limit.key)).cloned().collect();
        // The agent's day was set to zero with it, and has nothing of it to give back.
        let is_reset = reset.is_some_and(|reset| charge.at <= reset);
        if !is_reset {
            refunded = refunded.plus(charge.tokens);
        }
        let mut moves = Vec::new();
        for movement in Move::each(&daily, Meter::Tokens, charge.at, -charge.tokens.signed()) {
            let Move { key, bucket, delta } = &movement;
            if is_reset && key.scope == Scope::Agent(job.agent_id.clone()) {
                continue;
            }
            // A day that was folded and counts no more has nothing either; it never stands below zero.
            let stands = rows.buckets(key, *bucket, *bucket)?.iter().map(|(_, value)| value).sum::<i64>();
            let delta = (*delta).max(-stands.max(0));
            if delta != 0 {
                moves.push(Move { delta, ..movement });
            }
        }
        let entry = Entry {
            kind: EntryKind::Refund,
            at: now,
            job: Some(job.id.clone()),
            agent_id: job.agent_id.clone(),
            model: line.model.clone(),
            cost_source: None,
            moves,
        };
        book(rows, entry)?;
    }
    let mut figures =
        json!({ "tokens": job.gross(), "cost_micros": job.cost(), "refunded_tokens": refunded });
    if let Some(source) = job.cost_source() {
        figures["cost_source"] = json!(source);
    }
    let event = match outcome {
        JobOutcome::Completed => "job_completed",
        JobOutcome::Failed => "job_failed",
        JobOutcome::Cancelled => "job_cancelled",
        JobOutcome::Released => "job_released",
    };
    told(rows, job, event, now, figures)
}

/// Whether a refund goes to this meter: the day of the agent and of the model (design §7), under which every job counts from
/// its start. One that it came to count under later may not have its use.
fn is_refunded(key: &MeterKey) -> bool {
    key.window == Window::Day && matches!(key.scope, Scope::Agent(_) | Scope::Model(_))
}

/// Moves every meter of a line that counts what was used, and warns of limits that cross 80 %.
fn spend(
    rows: &mut dyn Rows,
    job: &Job,
    line: &Line,
    kind: EntryKind,
    used_now: &[(Meter, Amount)],
    now: Timestamp,
) -> Result<()> {
    let costs = used_now.iter().any(|(meter, amount)| *meter == Meter::Cost && !amount.is_zero());
    let mut moves = Vec::new();
    for &(meter, amount) in used_now {
        for movement in Move::each(&line.limits, meter, now, amount.signed()) {
            moves.push(movement);
        }
        let capped = |limit: &&Limit| limit.key.meter == meter && limit.cap.is_some() && !amount.is_zero();
        for limit in line.limits.iter().filter(capped) {
            let (from, to) = limit.key.window.span(now);
            let before = used(&rows.buckets(&limit.key, from, to)?);
            let after = before.plus(amount);
            if limit.crosses(WARNING_PERCENT, before, after) {
                let payload = json!({ "limit": limit.key.to_string(), "used": after, "cap": limit.cap });
                let event = NewEvent::new(EventType::QuotaWarning, now).agent(&job.agent_id);
                rows.append_event(event.task(&job.id.task).payload(payload))?;
            }
        }
    }
    let entry = Entry {
        kind,
        at: now,
        job: Some(job.id.clone()),
        agent_id: job.agent_id.clone(),
        model: line.model.clone(),
        cost_source: if costs { line.cost_source() } else { None },
        moves,
    };
    book(rows, entry)
}

/// Moves the meters and keeps the entry, together or not at all.
fn book(rows: &mut dyn Rows, entry: Entry) -> Result<()> {
    if entry.moves.is_empty() {
        return Ok(());
    }
    for movement in &entry.moves {
        rows.add(movement)?;
    }
    rows.append_entry(entry)
}

/// What the limits of a line say to its running job; a job that is told to stop is marked so.
fn stand(rows: &mut dyn Rows, job: &mut Job, index: usize, now: Timestamp) -> Result<UsageAnswer> {
    let mut answer = UsageAnswer {
        directive: Directive::Continue,
        reason: None,
        remaining_tokens: None,
        cost_micros: job.cost(),
        cost_source: job.cost_source(),
        unadmitted: job.unadmitted,
        late: job.late,
    };
    let Some(line) = job.lines.get(index) else { return Ok(answer) };
    for limit in &line.limits {
        let (Meter::Tokens | Meter::Cost, Some(cap)) = (limit.key.meter, limit.cap) else { continue };
        let (from, to) = limit.key.window.span(now);
        let used = used(&rows.buckets(&limit.key, from, to)?);
        let directive = Directive::for_use(used, cap);
        if directive > answer.directive {
            answer.directive = directive;
            answer.reason = Some(format!("{} used of {cap}: {}", used, limit.key));
        }
        if limit.key.meter == Meter::Tokens {
            let left = cap.minus(used);
            answer.remaining_tokens = Some(answer.remaining_tokens.map_or(left, |least| least.min(left)));
        }
    }
    if !job.state.is_open() {
        answer.directive = Directive::Stop;
        answer.reason = Some("lease_lost".to_owned());
    } else if answer.directive == Directive::Stop {
        job.stopped = true;
    } else if job.stopped {
        answer.directive = Directive::Stop;
        answer.reason.get_or_insert_with(|| "a limit told this job to stop before".to_owned());
    }
    Ok(answer)
}

fn told(
    rows: &mut dyn Rows,
    job: &Job,
    what: &str,
    now: Timestamp,
    mut payload: serde_json::Value,
) -> Result<()> {
    payload["event"] = json!(what);
    payload["job_id"] = json!(job.id);
    if job.unadmitted {
        payload["unadmitted"] = json!(true);
    }
    let event = NewEvent::new(EventType::UsageRecorded, now).agent(&job.agent_id);
    rows.append_event(event.task(&job.id.task).payload(payload))
}

fn existing(rows: &mut dyn Rows, id: &JobId) -> Result<Job> {
    rows.job(id)?.ok_or_else(|| Error::not_found(Kind::Job, id))
}

/// Holds meters against what the opening balance and the entries sum up to; answers with what differs, ascending by meter
/// and bucket.
pub fn differences(
    meters: &BTreeMap<(MeterKey, i64), i64>,
    sums: &BTreeMap<(MeterKey, i64), i64>,
) -> Vec<Difference> {
    let of =
        |map: &BTreeMap<(MeterKey, i64), i64>, at: &(MeterKey, i64)| map.get(at).copied().unwrap_or_default();
    let all: BTreeSet<&(MeterKey, i64)> = meters.keys().chain(sums.keys()).collect();
    let differs = |at: &(MeterKey, i64)| {
        let (meter, entries) = (of(meters, at), of(sums, at));
        let (key, bucket) = at.clone();
        (meter != entries).then_some(Difference { key, bucket, meter, entries })
    };
    all.into_iter().filter_map(differs).collect()
}
