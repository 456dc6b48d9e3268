//! What holds of every fleet at every moment, whatever was done to it.

use std::collections::BTreeSet;

use agentic_core::{
    error::Result,
    event::EventId,
    id::JobId,
    job::JobState,
    port::Ports,
    task::{BlockCause, Page, Task, TaskFilter, TaskStatus},
};

use crate::given::t;

/// Reads everything, and says in words what does not hold; empty when all does.
///
/// # Errors
/// What the ports answer.
pub async fn broken(ports: &Ports) -> Result<Vec<String>> {
    let mut broken = Vec::new();
    let tasks = all_tasks(ports).await?;
    for task in &tasks {
        let mut say = |what: &str| broken.push(format!("task {} is {}: {what}", task.id, task.status));
        check_task(task, &mut say);
        for number in 1..=task.attempt {
            let job = JobId::new(task.id.clone(), number);
            let Some(attempt) = ports.tasks.attempt(&job).await? else {
                say(&format!("attempt {number} is missing"));
                continue;
            };
            let runs = number == task.attempt && task.status == TaskStatus::InProgress;
            if attempt.ended_at.is_none() != runs || attempt.outcome.is_none() != runs {
                say(&format!("attempt {number} ended {:?} as {:?}", attempt.ended_at, attempt.outcome));
            }
            if runs && task.claimed_by.as_ref() != Some(&attempt.agent_id) {
                say(&format!("attempt {number} belongs to {}", attempt.agent_id));
            }
        }
    }
    check_counts(ports, &tasks, &mut broken).await?;
    check_lanes(ports, &tasks, &mut broken).await?;
    check_jobs(ports, &tasks, &mut broken).await?;
    check_log(ports, &mut broken).await?;
    for difference in ports.allowances.verify().await? {
        broken.push(format!("a meter is not the sum of its entries: {difference:?}"));
    }
    Ok(broken)
}

/// Reads every task, page by page.
///
/// # Errors
/// What the ports answer.
pub async fn all_tasks(ports: &Ports) -> Result<Vec<Task>> {
    let mut tasks: Vec<Task> = Vec::new();
    let mut page = Page::first(Page::MAX_LIMIT);
    loop {
        let rows = ports.tasks.list(&TaskFilter::default(), &page, t(0)).await?;
        let Some(last) = rows.last() else { return Ok(tasks) };
        page.cursor =
            Some(agentic_core::task::TaskCursor { created_at: last.created_at, id: last.id.clone() });
        tasks.extend(rows);
    }
}

/// Whether the fields of a task agree with its status.
fn check_task(task: &Task, say: &mut impl FnMut(&str)) {
    let runs = task.status == TaskStatus::InProgress;
    let waits = matches!(task.status, TaskStatus::Pending | TaskStatus::Blocked);
    let held = task.claimed_by.is_some() && task.claimed_at.is_some() && task.lease_expires_at.is_some();
    let rules = [
        (task.lease_expires_at.is_some() == runs, "only a running task has a lease"),
        (!runs || (held && task.attempt > 0), "a running task has a holder and a fence"),
        (!waits || (task.claimed_by.is_none() && task.claimed_at.is_none()), "a waiting task has no holder"),
        (task.blocked_by.is_empty() != (task.status == TaskStatus::Blocked), "blocked has a cause"),
        (task.retry_count <= task.max_retries, "more retries were burnt than there are"),
        (
            task.result.is_some() == (task.status == TaskStatus::Completed),
            "a result is of what was completed",
        ),
        ((task.status == TaskStatus::Completed) <= (task.progress == 100), "completed is a progress of 100"),
        (task.progress <= 100, "progress is at most 100"),
        (!waits && !runs || task.fail_reason.is_none(), "an open task has not failed for good"),
        (task.status != TaskStatus::Failed || task.fail_reason.is_some(), "a failed task says why"),
        (task.updated_at >= task.created_at, "it was updated before it was created"),
        (
            !task.blocked_by.contains(&BlockCause::Dependency) || !task.dependencies.is_empty(),
            "it waits for dependencies that it has not",
        ),
        (waits == task.pending_reason.is_some(), "what waits, and nothing else, says why"),
    ];
    for (holds, rule) in rules {
        if !holds {
            say(rule);
        }
    }
}

async fn check_counts(ports: &Ports, tasks: &[Task], broken: &mut Vec<String>) -> Result<()> {
    let counts = ports.tasks.counts().await?;
    for status in TaskStatus::ALL {
        let found = tasks.iter().filter(|task| task.status == status).count() as u64;
        if counts.get(&status).copied().unwrap_or(0) != found {
            broken.push(format!("{found} tasks are {status}, but the counts say {:?}", counts.get(&status)));
        }
        if counts.get(&status) == Some(&0) {
            broken.push(format!("the counts name {status}, which no task is"));
        }
    }
    Ok(())
}

/// Every ready task stands in the lane of its own needs, in order, and only pending ones do.
async fn check_lanes(ports: &Ports, tasks: &[Task], broken: &mut Vec<String>) -> Result<()> {
    let lanes = ports.tasks.lanes(1_000).await?;
    let mut ready = BTreeSet::new();
    let mut before = None;
    for view in &lanes.views {
        let heads = ports.tasks.ready(&view.lane, 1_000).await?;
        if heads.first() != Some(&view.head) {
            broken.push(format!("lane {} has the head {:?}, but {heads:?} are ready", view.lane, view.head));
        }
        for head in &heads {
            let task = tasks.iter().find(|task| task.id == head.id);
            let fits = task.is_some_and(|task| {
                task.status == TaskStatus::Pending
                    && task.lane() == view.lane
                    && agentic_core::lane::Head::of(task) == *head
            });
            if !fits || !ready.insert(head.id.clone()) {
                broken.push(format!("lane {} holds {head:?}, which is {task:?}", view.lane));
            }
        }
        let order = |head: &agentic_core::lane::Head| (head.priority, head.created_at, head.id.clone());
        if !heads.is_sorted_by_key(order) {
            broken.push(format!("lane {} is out of order: {heads:?}", view.lane));
        }
        let place = order(&view.head);
        if before.replace(place.clone()).is_some_and(|before| before > place) {
            broken.push(format!("lane {} is out of order among the lanes", view.lane));
        }
    }
    Ok(())
}

/// A job is what its attempt made of it.
async fn check_jobs(ports: &Ports, tasks: &[Task], broken: &mut Vec<String>) -> Result<()> {
    for task in tasks {
        for number in 1..=task.attempt {
            let id = JobId::new(task.id.clone(), number);
            let Some(job) = ports.allowances.job(&id).await? else { continue };
            let started = job.started_at.is_some();
            let rules = [
                (started == matches!(job.state, JobState::Started | JobState::Settled), "its start"),
                (job.ended_at.is_some() != job.state.is_open(), "its end"),
                (job.outcome.is_none() || !job.state.is_open(), "its outcome"),
                (!job.lines.is_empty(), "its model's line"),
            ];
            for (holds, what) in rules {
                if !holds {
                    broken.push(format!("job {id} is {:?}, which {what} does not fit: {job:?}", job.state));
                }
            }
        }
    }
    Ok(())
}

/// The log ascends without a gap up to its newest event.
async fn check_log(ports: &Ports, broken: &mut Vec<String>) -> Result<()> {
    let newest = ports.events.last().await?;
    let Ok(first) = ports.events.after(0, 1).await else { return Ok(()) };
    let mut cursor: EventId = 0;
    let mut page = first;
    while let Some(event) = page.events.first() {
        if event.id <= cursor || page.events.windows(2).any(|pair| pair[0].id >= pair[1].id) {
            broken.push(format!("the log does not ascend after {cursor}"));
            return Ok(());
        }
        cursor = page.cursor;
        page = ports.events.after(cursor, 1_000).await?;
    }
    if cursor != newest {
        broken.push(format!("the newest event is {newest}, but the log ends at {cursor}"));
    }
    Ok(())
}
