//! The port of tasks.

use std::collections::{BTreeMap, HashMap};

use agentic_core::{
    attempt::{Attempt, Ending, Next},
    clock::Timestamp,
    engine::tasks,
    error::{Error, Kind, Result},
    event::{Event, EventId},
    id::{AgentId, JobId, TaskId},
    lane::{Head, Lane},
    port::{
        Block, CancelTask, Claim, CreateMany, Created, Defer, Edit, EndAttempt, Finished, Lanes, ParkLane,
        Progress, Renew, StartAttempt, TaskStore, Unpark,
    },
    task::{MAX_BATCH, Page, Task, TaskFilter, TaskStatus},
};
use async_trait::async_trait;
use fred::types::scripts::Script;

use crate::{
    args::Args,
    error::unreadable,
    events::new_event,
    lanes,
    reply::{Reply, misshapen},
    rows::{Snapshot, attempt, event, new_cells, refused, task_row, view},
    script,
    store::{Answer, RedisStore},
};

/// How many tasks one step of a walk looks at.
const LOOK: usize = 250;

/// How many tasks one step moves, deletes or answers.
const STEP: usize = 50;

/// How many attempts of an agent one step looks at, by two reads each.
const RUNNING: usize = 100;

/// The most steps in which the dependents of completed tasks are released, 40 a step.
const MAX_DRAINS: usize = 25_000;

impl RedisStore {
    /// Runs a script on one task; what it refuses is told in the words of core's `transition`.
    pub(crate) async fn step<T>(
        &self,
        script: &Script,
        args: Args,
        id: &TaskId,
        transition: impl FnOnce(&mut Snapshot) -> Result<T> + Send,
    ) -> Result<Task> {
        match self.run(script, args).await? {
            Answer::Ok(mut reply) => Ok(task_row(&reply.cells()?)?.task),
            Answer::NotFound => Err(Error::not_found(Kind::Task, id)),
            Answer::Refused(mut reply) => Err(refused(transition(&mut Snapshot::of_one(&mut reply, None)?))),
            Answer::Said(..) => Err(tasks::newer_wake()),
            other => other.ok().and_then(|_| Err(misshapen("it was not expected"))),
        }
    }

    /// Runs a script that ends an attempt, and releases what that left to later steps.
    pub(crate) async fn end(&self, script: &Script, args: Args, end: &EndAttempt) -> Result<Finished> {
        let about = end.attempt.map(|attempt| JobId::new(end.task.clone(), attempt));
        match self.run(script, args).await? {
            Answer::Ok(mut reply) => {
                let task = task_row(&reply.cells()?)?.task;
                if reply.parse::<u64>()? > 0 {
                    self.drain(end.now).await?;
                }
                Ok(Finished::Accepted(Box::new(task)))
            }
            Answer::NotFound => Err(Error::not_found(Kind::Task, &end.task)),
            Answer::Late(mut reply) => {
                tasks::end_attempt(&mut Snapshot::of_one(&mut reply, about.as_ref())?, end)
            }
            Answer::Refused(mut reply) => {
                let mut rows = Snapshot::of_one(&mut reply, about.as_ref())?;
                Err(refused(tasks::end_attempt(&mut rows, end)))
            }
            other => other.ok().and_then(|_| Err(misshapen("it was not expected"))),
        }
    }

    /// Releases dependents that earlier steps left.
    async fn drain(&self, now: Timestamp) -> Result<()> {
        for _ in 0..MAX_DRAINS {
            if self.ask(&script::DRAIN, Args::at(now)).await?.parse::<u64>()? == 0 {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Says which of the tasks before the first invalid one cannot be created, if any.
    async fn probe(&self, create: &CreateMany, before: usize) -> Result<()> {
        let sooner = CreateMany::new(create.tasks.get(..before).unwrap_or_default().to_vec(), create.now);
        match self.run(&script::CREATE_MANY, batch(&sooner, "probe")?).await? {
            Answer::Refused(mut reply) => {
                Err(refused(tasks::create_many(&mut Snapshot::of_batch(&mut reply)?, create)))
            }
            other => other.ok().map(drop),
        }
    }
}

/// The arguments of `create_many.lua`.
fn batch(create: &CreateMany, todo: &str) -> Result<Args> {
    let mut args = Args::at(create.now).value(todo).value(create.tasks.len());
    for task in &create.tasks {
        args = args.value(&task.id).maybe(task.idempotency_key.as_ref()).value(task.digest());
        args = args.value(task.dependencies.len());
        args = task.dependencies.iter().fold(args, Args::value);
        let cells = new_cells(task, create.now)?;
        args = args.value(cells.len());
        args = cells.into_iter().fold(args, Args::value);
    }
    Ok(args)
}

/// A claim for `take_claim`.
pub(crate) fn claim_args(args: Args, claim: &Claim) -> Args {
    args.value(&claim.job)
        .value(&claim.job.task)
        .value(claim.job.attempt)
        .value(&claim.agent_id)
        .maybe(claim.incarnation)
        .value(format_args!("{}.{:09}", claim.lease.as_secs(), claim.lease.subsec_nanos()))
        .time(claim.expires_at)
        .maybe_time(claim.deadline)
        .flag(claim.dispatched)
}

/// A start for `take_start`.
pub(crate) fn start_args(args: Args, start: &StartAttempt) -> Args {
    args.value(&start.job)
        .value(&start.job.task)
        .value(start.job.attempt)
        .maybe(start.agent_id.as_ref())
        .maybe(start.incarnation)
}

/// The score and the name of the last one that a walk over a sorted set saw, as `page_of` of `scripts/lib/tasks.lua` has
/// them; nothing at its beginning and its end.
pub(crate) type Place = Option<(String, String)>;

/// The arguments that ask for what follows a place.
pub(crate) fn following(args: Args, place: &Place) -> Args {
    let (score, name) = place.as_ref().map(|(score, name)| (score, name)).unzip();
    args.maybe(score).maybe(name)
}

/// Where the next part begins, if there is one.
pub(crate) fn place(reply: &mut Reply) -> Result<Place> {
    Ok(reply.maybe()?.zip(reply.maybe()?))
}

/// An ending for `take_ending`.
pub(crate) fn ending_args(args: Args, end: &EndAttempt) -> Result<Args> {
    let (kind, said, next) = match &end.ending {
        Ending::Completed(result) => ("completed", serde_json::to_string(result).map_err(unreadable)?, None),
        Ending::Failed { error, next } => ("failed", error.clone(), Some(*next)),
        Ending::Expired { next } => ("expired", String::new(), *next),
        Ending::Released { reason } => ("released", reason.clone(), None),
        Ending::Blocked { reason } => ("blocked", reason.clone(), None),
    };
    let (next, at) = match next {
        Some(Next::RetryAt(at)) => (Some("retry"), Some(at)),
        Some(Next::DeadLetter) => (Some("dead"), None),
        None => (None, None),
    };
    let args = args
        .value(&end.task)
        .maybe(end.attempt)
        .maybe(end.agent_id.as_ref())
        .value(kind)
        .value(end.ending.digest())
        .value(end.ending.outcome().as_str())
        .flag(end.ending.proves_start())
        .value(said)
        .json(&end.ending)?;
    Ok(args.maybe(next).maybe_time(at).maybe(at))
}

#[async_trait]
impl TaskStore for RedisStore {
    async fn create_many(&self, create: CreateMany) -> Result<Vec<Created>> {
        let mut nothing = Snapshot::default();
        let ids: HashMap<_, _> = create.tasks.iter().map(|task| (&task.id, ())).collect();
        let keys: HashMap<_, _> =
            create.tasks.iter().filter_map(|task| Some((task.idempotency_key.as_ref()?, ()))).collect();
        let keyed = create.tasks.iter().filter(|task| task.idempotency_key.is_some()).count();
        let bounded = (1..=MAX_BATCH).contains(&create.tasks.len());
        if !bounded || ids.len() != create.tasks.len() || keys.len() != keyed {
            return tasks::create_many(&mut nothing, &create);
        }
        if let Some(index) = create.tasks.iter().position(|task| task.validate().is_err()) {
            self.probe(&create, index).await?;
            if let Some(task) = create.tasks.get(index) {
                task.validate()?;
            }
        }
        let todo = if create.rehearse { "rehearse" } else { "create" };
        match self.run(&script::CREATE_MANY, batch(&create, todo)?).await? {
            Answer::Refused(mut reply) => {
                let said = tasks::create_many(&mut Snapshot::of_batch(&mut reply)?, &create);
                if create.rehearse { said } else { Err(refused(said)) }
            }
            other => {
                let mut reply = other.ok()?;
                let mut created = Vec::with_capacity(create.tasks.len());
                while !reply.is_empty() {
                    let mut item = reply.list()?;
                    let replayed = item.text()? == "1";
                    created.push(Created { task: task_row(&item.cells()?)?.task, replayed });
                }
                Ok(created)
            }
        }
    }

    async fn get(&self, id: &TaskId, now: Timestamp) -> Result<Task> {
        match self.run(&script::GET, Args::at(now).value(id)).await? {
            Answer::NotFound => Err(Error::not_found(Kind::Task, id)),
            other => view(other.ok()?.list()?, now),
        }
    }

    async fn list(&self, filter: &TaskFilter, page: &Page, now: Timestamp) -> Result<Vec<Task>> {
        let mut found = Vec::new();
        let cursor = page.cursor.as_ref();
        let mut last = cursor.map(|cursor| (cursor.created_at.millis().to_string(), cursor.id.to_string()));
        while found.len() < page.limit {
            let args = Args::at(now)
                .maybe(filter.status.map(TaskStatus::as_str))
                .maybe(filter.priority.map(agentic_core::task::Priority::rank))
                .maybe(filter.project.as_ref())
                .maybe(filter.claimed_by.as_ref());
            let args = following(args, &last).value(LOOK).value((page.limit - found.len()).min(STEP));
            let mut reply = self.ask(&script::LIST, filter.labels.iter().fold(args, Args::value)).await?;
            last = place(&mut reply)?;
            for item in reply.lists()? {
                found.push(view(item, now)?);
            }
            if last.is_none() {
                break;
            }
        }
        Ok(found)
    }

    async fn counts(&self) -> Result<BTreeMap<TaskStatus, u64>> {
        let args = TaskStatus::ALL.iter().map(|status| status.as_str()).fold(Args::timeless(), Args::value);
        let mut reply = self.ask(&script::COUNTS, args).await?;
        let mut counts = BTreeMap::new();
        for status in TaskStatus::ALL {
            counts.insert(status, reply.parse()?);
        }
        counts.retain(|_, count| *count > 0);
        Ok(counts)
    }

    async fn attempt(&self, job: &JobId) -> Result<Option<Attempt>> {
        let cells = self.command("HGETALL", &format!("attempt:{job}"), &[]).await?;
        let cells = Reply::of(cells)?.into_cells()?;
        if cells.is_empty() { Ok(None) } else { attempt(job.clone(), &cells).map(Some) }
    }

    async fn assigned(&self, agent: &AgentId, incarnation: u64, limit: usize) -> Result<Vec<Task>> {
        let (mut tasks, mut last) = (Vec::new(), None);
        while tasks.len() < limit {
            let args = following(Args::timeless().value(agent).value(incarnation), &last);
            let args = args.value(RUNNING).value(STEP.min(limit - tasks.len()));
            let mut reply = self.ask(&script::ASSIGNED, args).await?;
            last = place(&mut reply)?;
            for cells in reply.lists()? {
                tasks.push(task_row(&cells.into_cells()?)?.task);
            }
            if last.is_none() {
                break;
            }
        }
        Ok(tasks)
    }

    async fn lanes(&self, limit: usize) -> Result<Lanes> {
        self.lanes_in_order(limit).await
    }

    async fn ready(&self, lane: &Lane, limit: usize) -> Result<Vec<Head>> {
        let (mut heads, mut last) = (Vec::new(), None);
        while heads.len() < limit {
            let args = following(Args::timeless().value(lane), &last).value(LOOK.min(limit - heads.len()));
            let mut reply = self.ask(&script::READY, args).await?;
            last = place(&mut reply)?;
            for mut cells in reply.lists()? {
                heads.push(lanes::head(&mut cells)?);
            }
            if last.is_none() {
                break;
            }
        }
        Ok(heads)
    }

    async fn promote_due(&self, now: Timestamp, limit: usize) -> Result<usize> {
        let mut moved = 0;
        loop {
            let step = STEP.min(limit - moved);
            let mut reply = self.ask(&script::PROMOTE_DUE, Args::at(now).value(step)).await?;
            let found: usize = reply.parse()?;
            moved += found;
            if reply.parse::<u64>()? > 0 {
                self.drain(now).await?;
            }
            if found < step || moved == limit {
                return Ok(moved);
            }
        }
    }

    async fn next_due(&self) -> Result<Option<Timestamp>> {
        let mut first = Reply::of(self.command("ZRANGE", "due", &["0", "0", "WITHSCORES"]).await?)?;
        if first.is_empty() {
            return Ok(None);
        }
        first.text()?;
        first.time().map(Some)
    }

    async fn park(&self, park: ParkLane) -> Result<()> {
        let ParkLane { lane, park, seen, events } = &park;
        let args = Args::timeless()
            .value(lane)
            .value(seen)
            .maybe(park.scope.as_ref())
            .json(&park.reason.code)?
            .json(&park.reason)?
            .time(park.parked_at);
        let args = events.iter().try_fold(args, new_event)?;
        match self.run(&script::PARK, args).await? {
            Answer::Said(..) => Err(tasks::newer_wake()),
            other => other.ok().map(drop),
        }
    }

    async fn unpark(&self, unpark: Unpark) -> Result<usize> {
        let mut woken = 0;
        loop {
            let step = STEP.min(unpark.limit - woken);
            let args = lanes::woken(Args::timeless(), &unpark.wake).value(step);
            let found: usize = self.ask(&script::UNPARK, args).await?.parse()?;
            woken += found;
            if found < step || woken == unpark.limit {
                return Ok(woken);
            }
        }
    }

    async fn claim(&self, claim: Claim) -> Result<Task> {
        let args = claim_args(Args::at(claim.now), &claim);
        self.step(&script::CLAIM, args, &claim.job.task, |rows| tasks::claim(rows, &claim)).await
    }

    async fn start(&self, start: StartAttempt) -> Result<Task> {
        let args = start_args(Args::at(start.now), &start);
        self.step(&script::START_ATTEMPT, args, &start.job.task, |rows| tasks::start(rows, &start)).await
    }

    async fn renew(&self, renew: Renew) -> Result<Task> {
        let args = Args::at(renew.now)
            .value(&renew.job.task)
            .value(renew.job.attempt)
            .value(&renew.agent_id)
            .time(renew.expires_at);
        self.step(&script::RENEW, args, &renew.job.task, |rows| tasks::renew(rows, &renew)).await
    }

    async fn progress(&self, progress: Progress) -> Result<Task> {
        let args = Args::at(progress.now)
            .value(&progress.task)
            .maybe(progress.attempt)
            .maybe(progress.agent_id.as_ref())
            .maybe(progress.progress)
            .text(progress.notes.as_deref());
        self.step(&script::PROGRESS, args, &progress.task, |rows| tasks::progress(rows, &progress)).await
    }

    async fn end_attempt(&self, end: EndAttempt) -> Result<Finished> {
        let args = ending_args(Args::at(end.now), &end)?;
        self.end(&script::END_ATTEMPT, args, &end).await
    }

    async fn edit(&self, edit: Edit) -> Result<Task> {
        edit.edit.validate()?;
        let changes = &edit.edit;
        let labels = changes.labels.as_ref().map(|labels| {
            let lane = Lane { labels: labels.clone(), ..Lane::default() };
            lane.to_string().trim_end_matches('|').to_owned()
        });
        let args = Args::at(edit.now)
            .value(&edit.task)
            .maybe(changes.priority.map(agentic_core::task::Priority::rank))
            .text(labels.as_deref())
            .maybe(changes.model.as_ref())
            .maybe_time(changes.not_before)
            .text(changes.description.as_deref())
            .json(changes)?;
        self.step(&script::EDIT, args, &edit.task, |rows| tasks::edit(rows, &edit)).await
    }

    async fn defer(&self, defer: Defer) -> Result<Task> {
        let args = Args::at(defer.now)
            .value(&defer.task)
            .value(defer.attempt)
            .json(&defer.reason)?
            .time(defer.until)
            .maybe(defer.seen);
        self.step(&script::DEFER, args, &defer.task, |rows| tasks::defer(rows, &defer)).await
    }

    async fn block(&self, block: Block) -> Result<Task> {
        let args = Args::at(block.now).value(&block.task).text(block.reason.as_deref());
        self.step(&script::BLOCK, args, &block.task, |rows| tasks::block(rows, &block)).await
    }

    async fn cancel(&self, cancel: CancelTask) -> Result<Task> {
        let outcome = match cancel.status {
            TaskStatus::Cancelled => "cancelled",
            TaskStatus::Failed => "failed",
            _ => return tasks::cancel(&mut Snapshot::default(), &cancel),
        };
        let args = Args::at(cancel.now)
            .value(&cancel.task)
            .value(cancel.status)
            .value(outcome)
            .value(&cancel.reason);
        self.step(&script::CANCEL, args, &cancel.task, |rows| tasks::cancel(rows, &cancel)).await
    }

    async fn requeue(&self, id: &TaskId, now: Timestamp) -> Result<Task> {
        self.step(&script::REQUEUE, Args::at(now).value(id), id, |rows| tasks::requeue(rows, id, now)).await
    }

    async fn expired(&self, now: Timestamp, limit: usize) -> Result<Vec<(Task, Attempt)>> {
        let (mut found, mut last) = (Vec::new(), None);
        while found.len() < limit {
            let args = following(Args::at(now), &last).value(STEP.min(limit - found.len()));
            let mut reply = self.ask(&script::EXPIRED_ATTEMPTS, args).await?;
            last = place(&mut reply)?;
            for mut pair in reply.lists()? {
                let task = task_row(&pair.cells()?)?.task;
                let id = JobId::new(task.id.clone(), task.attempt);
                found.push((task, attempt(id, &pair.cells()?)?));
            }
            if last.is_none() {
                break;
            }
        }
        Ok(found)
    }

    async fn history(&self, id: &TaskId, after: EventId, limit: usize) -> Result<Vec<Event>> {
        let mut events: Vec<Event> = Vec::new();
        loop {
            let (after, step) =
                (events.last().map_or(after, |event| event.id), LOOK.min(limit - events.len()));
            let args = Args::timeless().value(id).value(after).value(step);
            let found = match self.run(&script::HISTORY, args).await? {
                Answer::NotFound => return Err(Error::not_found(Kind::Task, id)),
                other => other.ok()?.lists()?,
            };
            let more = found.len() == step;
            for entry in found {
                events.push(event(entry)?);
            }
            if !more || events.len() == limit {
                return Ok(events);
            }
        }
    }

    async fn prune(&self, before: Timestamp, limit: usize, now: Timestamp) -> Result<usize> {
        // What waits to be released must not find another task under the name of one that is gone.
        self.drain(now).await?;
        let (mut deleted, mut last) = (0, None);
        while deleted < limit {
            let step = STEP.min(limit - deleted);
            let args = Args::timeless().time(before).value(step).value(LOOK);
            let mut reply = self.ask(&script::PRUNE, following(args, &last)).await?;
            deleted += reply.parse::<usize>()?;
            last = place(&mut reply)?;
            if last.is_none() {
                break;
            }
        }
        Ok(deleted)
    }
}
