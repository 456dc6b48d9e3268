//! Why tasks and lanes wait, and what would become of tasks that are not submitted yet.

use std::collections::HashMap;

use agentic_core::{
    api::CreateTask,
    clock::Timestamp,
    error::{Error, Result},
    explain::{Explanation, LaneExplanation, Prospects},
    id::{JobId, TaskId},
    lane::Lane,
    port::{CreateMany, Created},
    task::{BlockCause, Page, PendingReason, Priority, Task, TaskStatus},
};

use crate::{
    prospects::{Ask, Outlook},
    router::Router,
    tasks::TaskService,
};

/// How many different needs one dry run holds against the fleet.
const MAX_NEEDS: usize = 100;

impl TaskService {
    /// Says what a task's state means now, and what each agent could do about one that waits; at most `shown` agents are told
    /// one by one. `router` is the one that dispatchers of this fleet run with.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for more than 1,000 agents.
    pub async fn explain(&self, id: &TaskId, router: &dyn Router, shown: usize) -> Result<Explanation> {
        check_shown(shown)?;
        let task = self.get(id).await?;
        let because = self.because(&task).await?;
        let prospects = if waits(&task) {
            Some(Outlook::read(self.fleet(), router).await?.prospects(&Ask::of(&task), shown).await?)
        } else {
            None
        };
        Ok(Explanation { task, because, prospects })
    }

    /// Says why nothing moves in a lane, and who could take its head.
    ///
    /// # Errors
    /// `Unavailable`; `Invalid` for more than 1,000 agents.
    pub async fn explain_lane(
        &self,
        lane: Lane,
        router: &dyn Router,
        shown: usize,
    ) -> Result<LaneExplanation> {
        check_shown(shown)?;
        let ready = self.fleet().ports().tasks.ready(&lane, 1).await?;
        let head = match ready.first() {
            Some(head) => Some(self.get(&head.id).await?),
            None => None,
        };
        let (because, ask) = if let Some(task) = &head {
            (self.because(task).await?, Ask::of(task))
        } else {
            let none = because("empty", "no task of this lane is ready", None);
            let ask = Ask { lane: lane.clone(), priority: Priority::Normal, tokens: <_>::default() };
            (vec![none], ask)
        };
        let prospects = Outlook::read(self.fleet(), router).await?.prospects(&ask, shown).await?;
        Ok(LaneExplanation { lane, head: head.map(|task| task.id), because, prospects })
    }

    /// Says what [`TaskService::create`] would answer to these tasks, who would take each now, and what it would be held
    /// against; writes nothing. Each task is looked at as if it were the only one; one whose idempotency key came before is the
    /// task that it made.
    ///
    /// # Errors
    /// As [`agentic_core::port::TaskStore::create_many`].
    pub async fn dry_run(
        &self,
        tasks: Vec<CreateTask>,
        key: Option<&str>,
        router: &dyn Router,
        shown: usize,
    ) -> Result<Vec<Explanation>> {
        check_shown(shown)?;
        let (tasks, now) = (Self::prepared(tasks, key)?, self.fleet().now());
        let create = CreateMany { tasks, rehearse: true, now };
        let created = self.fleet().ports().tasks.create_many(create).await?;
        let outlook = Outlook::read(self.fleet(), router).await?;
        let mut known: HashMap<Ask, Prospects> = HashMap::new();
        let mut answers = Vec::with_capacity(created.len());
        for Created { mut task, replayed } in created {
            let mut reasons = Vec::new();
            if replayed {
                task = self.get(&task.id).await?;
                let detail = format!("its idempotency key made task {} before, which is the answer", task.id);
                reasons.push(because("exists", detail, None));
            }
            reasons.extend(task.pending_reason.clone());
            let ask = Ask::of(&task);
            let waits = waits(&task);
            if waits && !known.contains_key(&ask) && known.len() < MAX_NEEDS {
                known.insert(ask.clone(), outlook.prospects(&ask, shown).await?);
            }
            let prospects = known.get(&ask).filter(|_| waits).cloned();
            if waits && prospects.is_none() {
                let detail = format!("only the first {MAX_NEEDS} different needs of a dry run are looked at");
                reasons.push(because("not_asked", detail, None));
            }
            answers.push(Explanation { task, because: reasons, prospects });
        }
        Ok(answers)
    }

    /// What a task's state means now.
    async fn because(&self, task: &Task) -> Result<Vec<PendingReason>> {
        let over = |code: &str, detail: String| Ok(vec![because(code, detail, None)]);
        match task.status {
            TaskStatus::Pending => Ok(task.pending_reason.clone().into_iter().collect()),
            TaskStatus::Blocked => self.blocked(task).await,
            TaskStatus::InProgress => self.running(task).await,
            TaskStatus::Completed => over("completed", format!("was completed at {}", task.updated_at)),
            TaskStatus::Failed => {
                let why = task.fail_reason.as_deref().unwrap_or("no reason was given");
                over(
                    "failed",
                    format!("failed for good at {}: {why}; a requeue puts it back", task.updated_at),
                )
            }
            TaskStatus::Cancelled => {
                over("cancelled", format!("was called off at {}; a requeue puts it back", task.updated_at))
            }
        }
    }

    /// Each dependency that is not completed, and the block by hand.
    async fn blocked(&self, task: &Task) -> Result<Vec<PendingReason>> {
        let mut reasons = Vec::new();
        for id in &task.dependencies {
            match self.get(id).await {
                Ok(open) if open.status == TaskStatus::Completed => {}
                Ok(open) => {
                    let end = if open.status.is_final() { ", and will not be by itself" } else { "" };
                    let detail = format!("waits for task {id}, which is {}{end}", open.status);
                    reasons.push(because("dependency", detail, None));
                }
                Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        if task.blocked_by.contains(&BlockCause::Manual) {
            let notes = task.notes.as_ref().map_or_else(String::new, |notes| format!(": {notes}"));
            reasons.push(because("manual", format!("is blocked by hand until it is unblocked{notes}"), None));
        }
        Ok(reasons)
    }

    /// Whose attempt it is, since when, until when.
    async fn running(&self, task: &Task) -> Result<Vec<PendingReason>> {
        let job = JobId::new(task.id.clone(), task.attempt);
        let attempt = self.attempt(&job).await?;
        let Some(attempt) = attempt.filter(|attempt| attempt.ended_at.is_none()) else {
            return Ok(Vec::new());
        };
        let agent = &attempt.agent_id;
        let (code, detail) = match attempt.started_at {
            Some(at) => {
                let detail = format!("agent {agent} runs attempt {} since {at}", task.attempt);
                ("running", format!("{detail}, at {} %", task.progress))
            }
            None => (
                "assigned",
                format!("agent {agent} was given attempt {}, and has not started it", task.attempt),
            ),
        };
        let until = task.lease_expires_at;
        let bound = attempt.deadline.map_or_else(String::new, |at| format!("; it has to end by {at}"));
        let lease = match until {
            Some(at) if at <= self.fleet().now() => "; its lease has run out, and it goes back to the queue",
            Some(_) => "; its lease holds until then, unless it is renewed",
            None => "",
        };
        let detail = format!("{detail}{bound}{lease}");
        Ok(vec![because(code, detail, until)])
    }
}

impl Ask {
    fn of(task: &Task) -> Self {
        Self { lane: task.lane(), priority: task.priority, tokens: task.estimated_tokens }
    }
}

fn because(code: &str, detail: impl Into<String>, retry_at: Option<Timestamp>) -> PendingReason {
    PendingReason { code: code.to_owned(), detail: detail.into(), retry_at }
}

/// Whether an agent could be given it, now or later.
fn waits(task: &Task) -> bool {
    matches!(task.status, TaskStatus::Pending | TaskStatus::Blocked)
}

fn check_shown(shown: usize) -> Result<()> {
    if shown > Page::MAX_LIMIT {
        return Err(Error::invalid("agents", "must be at most 1000"));
    }
    Ok(())
}
