//! Running jobs follow the limits that stand.
//!
//! A job is admitted under the limits of that moment. When limits change meanwhile (a cap is lowered, a budget is new, a
//! window was begun) the next sweep holds every running job against those that stand, so that the change reaches it by its
//! next report. The sweep after that looks once more: a dispatcher may have admitted by what it had read before.

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

/// Where it stands which revision of the limits the running jobs follow.
const FOLLOWED: &str = "sweep.limits";
/// How many pages of running tasks one look takes: a million.
const PAGES: usize = 1_000;

impl Fleet {
    /// Holds what runs against the limits that stand, if they changed since it was last done.
    pub(crate) async fn follow_limits(&self, now: Timestamp) -> Result<()> {
        self.begin_cut(now).await?;
        let ports = self.ports();
        let revision = ports.allowances.limits_revision().await?;
        let (once, twice) = (revision.to_string(), format!("{revision} twice"));
        let done = ports.settings.get(FOLLOWED).await?;
        if done.as_ref() == Some(&twice) {
            return Ok(());
        }
        self.replan(now).await?;
        let now_done = if done.as_ref() == Some(&once) { twice } else { once };
        ports.settings.put(FOLLOWED, Some(now_done)).await
    }

    async fn replan(&self, now: Timestamp) -> Result<()> {
        let ports = self.ports();
        let agents = ports.agents.list().await?;
        let max_loads: HashMap<AgentId, u32> =
            agents.into_iter().map(|agent| (agent.id, agent.max_load)).collect();
        let mut book = self.limits().await?;
        let filter = TaskFilter { status: Some(TaskStatus::InProgress), ..TaskFilter::default() };
        let mut page = Page::first(Page::MAX_LIMIT);
        for _ in 0..PAGES {
            let tasks = ports.tasks.list(&filter, &page, now).await?;
            for task in &tasks {
                self.replan_one(&mut book, &max_loads, task, now).await?;
            }
            let Some(last) = tasks.last().filter(|_| tasks.len() == page.limit) else { break };
            page.cursor = Some(TaskCursor { created_at: last.created_at, id: last.id.clone() });
        }
        Ok(())
    }

    async fn replan_one(
        &self,
        book: &mut Arc<LimitBook>,
        max_loads: &HashMap<AgentId, u32>,
        task: &Task,
        now: Timestamp,
    ) -> Result<()> {
        let allowances = &self.ports().allowances;
        let id = JobId::new(task.id.clone(), task.attempt);
        let Some(job) = allowances.job(&id).await?.filter(|job| job.state.is_open()) else { return Ok(()) };
        let max_load = max_loads.get(&job.agent_id).copied().unwrap_or_default();
        let (model, project) = (job.model(), job.project.as_ref());
        let subject = Subject { agent: &job.agent_id, max_load, model, project };
        let plan = self.plan_of_use(book, &subject, now).await?;
        let Some(line) = job.lines.first() else { return Ok(()) };
        let unknown = line.price.is_none() && line.high.cost_micros.is_none() && !job.stopped;
        if let Some(refusal) = plan.unpriced.filter(|_| unknown && job.state == JobState::Started) {
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
            return Ok(());
        }
        match allowances.replan(Replan { job: id, limits, now }).await {
            Err(Error::NotFound { .. }) => Ok(()),
            other => other.map(drop),
        }
    }
}
