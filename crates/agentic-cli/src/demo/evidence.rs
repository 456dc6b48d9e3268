//! What is read back when the demo is over.

use agentic_client::Client;
use agentic_core::{
    agent::AgentInfo,
    clock::Timestamp,
    error::{Error, Result},
    event::Event,
    limit::Window,
    port::{Difference, Ports},
    task::{Page, Task, TaskCursor, TaskFilter},
};
use futures_util::TryStreamExt;

use super::plan::Plan;

/// What the store holds.
#[derive(Debug, Clone, Default)]
pub(super) struct Kept {
    /// All tasks.
    pub(super) tasks: Vec<Task>,
    /// All events.
    pub(super) events: Vec<Event>,
    /// Meters that are not the sum of their entries.
    pub(super) differences: Vec<Difference>,
    /// Live reservations.
    pub(super) held: u32,
}

impl Evidence {
    /// Whether daily limits began anew while it ran.
    pub(super) fn is_past_midnight(&self) -> bool {
        Window::Day.bucket(self.began) != Window::Day.bucket(self.ended)
    }
}

/// The most pages that are read of anything: the demo makes one or two.
const MAX_PAGES: usize = 1_000;

/// What the API said while the server ran, and what the store holds after it.
#[derive(Debug, Clone)]
pub(super) struct Evidence {
    pub(super) plan: Plan,
    /// All tasks, from the API.
    pub(super) told: Vec<Task>,
    /// All agents, from the API.
    pub(super) agents: Vec<AgentInfo>,
    /// What the store holds.
    pub(super) kept: Kept,
    /// When it began.
    pub(super) began: Timestamp,
    /// When the store was read.
    pub(super) ended: Timestamp,
    /// What went wrong with the workers.
    pub(super) wrong: Vec<String>,
    /// Processes that simulated agents were, and those that still run.
    pub(super) processes: (usize, Vec<i32>),
}

/// What the API tells.
pub(super) async fn told(client: &Client) -> Result<(Vec<Task>, Vec<AgentInfo>)> {
    Ok((client.all_tasks(&TaskFilter::default()).try_collect().await?, client.agents().await?))
}

/// What the store keeps, and what `agents` still hold there.
pub(super) async fn kept(ports: &Ports, agents: &[AgentInfo], now: Timestamp) -> Result<Kept> {
    let ids: Vec<_> = agents.iter().map(|agent| agent.id.clone()).collect();
    Ok(Kept {
        tasks: tasks(ports, now).await?,
        events: events(ports).await?,
        differences: ports.allowances.verify().await?,
        held: ports.allowances.active_jobs(&ids, now).await?.into_iter().sum(),
    })
}

async fn tasks(ports: &Ports, now: Timestamp) -> Result<Vec<Task>> {
    let (mut all, mut page) = (Vec::new(), Page::first(Page::MAX_LIMIT));
    for _ in 0..MAX_PAGES {
        let tasks = ports.tasks.list(&TaskFilter::default(), &page, now).await?;
        let Some(last) = tasks.last() else { return Ok(all) };
        page.cursor = Some(TaskCursor { created_at: last.created_at, id: last.id.clone() });
        all.extend(tasks);
    }
    Err(Error::backend("reading so many tasks"))
}

async fn events(ports: &Ports) -> Result<Vec<Event>> {
    let (mut all, mut cursor) = (Vec::new(), 0);
    for _ in 0..MAX_PAGES {
        let page = ports.events.after(cursor, Page::MAX_LIMIT).await?;
        if page.events.is_empty() {
            return Ok(all);
        }
        cursor = page.cursor;
        all.extend(page.events);
    }
    Err(Error::backend("reading so many events"))
}
