//! Running jobs follow the limits that stand.
//!
//! A job is admitted under the limits of that moment. When limits change meanwhile (a cap is lowered, a budget is new, a
//! window was begun) every server holds the running jobs against those that stand, so that the change reaches them by their
//! next report, and looks once more a while after: somebody may have admitted by what they had read before. A dispatcher
//! whose tick was longer than that says so at its end.

use std::{collections::HashMap, sync::Arc};

use agentic_core::{
    clock::Timestamp,
    error::{Error, Result},
    id::{AgentId, JobId},
    job::JobState,
    port::{Replan, Report},
    task::{Page, Task, TaskCursor, TaskFilter, TaskStatus},
    usage::Figures,
};

use crate::{
    fleet::Fleet,
    limits::{LimitBook, Subject},
};

/// Which revision of the limits the running jobs follow, as far as this server has looked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Followed {
    revision: Option<u64>,
    /// The second look is done too.
    twice: bool,
}

/// How many pages of running tasks one look takes: a million.
const PAGES: usize = 1_000;

impl Fleet {
    /// Holds what runs against the limits that stand, unless they are those of the last two looks.
    pub(crate) async fn follow_limits(&self, now: Timestamp) -> Result<()> {
        self.begin_cut(now).await?;
        let revision = self.ports().allowances.limits_revision().await?;
        let before = self.followed();
        let same = before.revision == Some(revision);
        if same && before.twice {
            return Ok(());
        }
        // What is said while it looks (see `follow_anew`) is not lost.
        self.set_followed(Followed { revision: Some(revision), twice: false });
        let all = self.replan(now).await?;
        if same && all && self.followed().revision == Some(revision) {
            self.set_followed(Followed { revision: Some(revision), twice: true });
        }
        Ok(())
    }

    /// Has what runs looked at again: something was admitted by limits that stand no more.
    pub(crate) fn follow_anew(&self) {
        self.set_followed(Followed::default());
    }

    /// Answers whether all could be held; what has not started yet and costs nobody knows what is looked at again.
    async fn replan(&self, now: Timestamp) -> Result<bool> {
        let ports = self.ports();
        let agents = ports.agents.list().await?;
        let max_loads: HashMap<AgentId, u32> =
            agents.into_iter().map(|agent| (agent.id, agent.max_load)).collect();
        let mut book = self.limits().await?;
        let filter = TaskFilter { status: Some(TaskStatus::InProgress), ..TaskFilter::default() };
        let mut page = Page::first(Page::MAX_LIMIT);
        let mut all = true;
        for _ in 0..PAGES {
            let tasks = ports.tasks.list(&filter, &page, now).await?;
            for task in &tasks {
                all &= self.replan_one(&mut book, &max_loads, task, now).await?;
            }
            let Some(last) = tasks.last().filter(|_| tasks.len() == page.limit) else { break };
            page.cursor = Some(TaskCursor { created_at: last.created_at, id: last.id.clone() });
        }
        Ok(all)
    }

    async fn replan_one(
        &self,
        book: &mut Arc<LimitBook>,
        max_loads: &HashMap<AgentId, u32>,
        task: &Task,
        now: Timestamp,
    ) -> Result<bool> {
        let allowances = &self.ports().allowances;
        let id = JobId::new(task.id.clone(), task.attempt);
        let Some(job) = allowances.job(&id).await?.filter(|job| job.state.is_open()) else {
            return Ok(true);
        };
        let max_load = max_loads.get(&job.agent_id).copied().unwrap_or_default();
        let (model, project) = (job.model(), job.project.as_ref());
        let subject = Subject { agent: &job.agent_id, max_load, model, project };
        let plan = self.plan_of_use(book, &subject, now).await?;
        let Some(line) = job.lines.first() else { return Ok(true) };
        let unknown = line.high.cost_micros.is_none() && !job.stopped;
        let unpriced = plan.unpriced(line.price, model).filter(|_| unknown);
        let later = unpriced.is_some() && job.state == JobState::Reserved;
        if let Some(refusal) = unpriced.filter(|_| !later) {
            // A limit on spend came over a job that costs nobody knows what.
            let stop = Report {
                job: id.clone(),
                agent_id: job.agent_id.clone(),
                model: None,
                figures: Figures::default(),
                limits: Vec::new(),
                price: None,
                stop: Some(refusal.to_string()),
                expires_at: job.expires_at,
                now,
            };
            allowances.report(stop).await?;
        }
        let limits = plan.limits;
        if line.limits == limits {
            return Ok(!later);
        }
        match allowances.replan(Replan { job: id, limits, now }).await {
            Err(Error::NotFound { .. }) => Ok(true),
            other => other.map(|_| !later),
        }
    }
}
