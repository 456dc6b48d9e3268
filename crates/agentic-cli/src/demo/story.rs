//! What happens while the demo runs, and what the demo does about it.

use std::{collections::BTreeSet, fs, path::PathBuf, time::Duration};

use agentic_client::Client;
use agentic_core::{
    allowance::AgentAllowance,
    error::Error,
    event::{Event, EventType},
    id::{AgentId, TaskId},
    task::TaskStatus,
};
use futures_util::TryStreamExt;
use indicatif::{ProgressBar, ProgressStyle};

use super::{
    crew::Crew,
    plan::{KILLED, Plan, RAISED_TOKENS, SPENT, VICTIM},
};
use crate::{failure::Failure, output::Printer};

/// How long the story waits for the next event before it looks after the workers.
const LOOK: Duration = Duration::from_secs(1);

/// The story of one run.
pub(super) struct Story<'a> {
    pub(super) plan: &'a Plan,
    pub(super) client: Client,
    pub(super) crew: &'a mut Crew,
    pub(super) directory: PathBuf,
    pub(super) printer: Printer,
    finished: BTreeSet<TaskId>,
    killed: bool,
    raised: bool,
    bar: ProgressBar,
}

impl<'a> Story<'a> {
    /// A story that begins now.
    pub(super) fn new(
        plan: &'a Plan,
        client: Client,
        crew: &'a mut Crew,
        directory: PathBuf,
        printer: Printer,
    ) -> Self {
        let bar = if printer.is_lively() { bar(plan.tasks.len()) } else { ProgressBar::hidden() };
        Self {
            plan,
            client,
            crew,
            directory,
            printer,
            finished: BTreeSet::new(),
            killed: false,
            raised: false,
            bar,
        }
    }

    /// Submits the tasks, starts the agents, and sees it through until every task has ended.
    ///
    /// # Errors
    /// What the server says; a worker that ended by itself.
    pub(super) async fn tell(&mut self) -> Result<(), Failure> {
        let plan = self.plan;
        for agent in &plan.agents {
            self.client.set_allowance(&agent.allowance).await?;
        }
        let tasks: Vec<_> = plan.tasks.iter().map(|task| task.create.clone()).collect();
        self.client.create_tasks(&tasks, None).await?;
        self.say(&format!("{} tasks submitted", tasks.len()));
        for agent in &plan.agents {
            self.crew.start(agent)?;
        }
        let mut events = self.client.events(Some(0), None);
        while self.finished.len() < plan.tasks.len() {
            match tokio::time::timeout(LOOK, events.try_next()).await {
                Ok(event) => {
                    let event = event?.ok_or_else(|| Error::unavailable("the stream of events"))?;
                    self.saw(&event).await?;
                }
                Err(_) => {
                    if let Some(fallen) = self.crew.fallen() {
                        return Err(Failure::failed(fallen));
                    }
                }
            }
        }
        self.bar.finish_and_clear();
        Ok(())
    }

    async fn saw(&mut self, event: &Event) -> Result<(), Failure> {
        self.tell_event(event);
        let task = event.task_id.as_ref();
        match event.kind {
            EventType::TaskCompleted | EventType::TaskDeadLettered => {
                self.finished.extend(task.cloned());
                self.bar.set_position(self.finished.len() as u64);
            }
            EventType::TaskUpdated if !self.killed && task.is_some_and(|task| task.as_str() == VICTIM) => {
                self.kill().await?;
            }
            EventType::DispatchFailedQuota if !self.raised && self.is_spent(task) => self.raise().await?,
            _ => {}
        }
        Ok(())
    }

    /// Kills an agent while it works, and starts it again.
    async fn kill(&mut self) -> Result<(), Failure> {
        let task = self.client.get_task(&VICTIM.parse()?).await?;
        let agent: AgentId = KILLED.parse()?;
        if task.status != TaskStatus::InProgress || task.claimed_by.as_ref() != Some(&agent) {
            return Ok(());
        }
        self.crew.kill(&agent).await?;
        self.killed = true;
        self.say(&format!("killed the worker of {agent} while it worked on {VICTIM}, and started it again"));
        fs::write(self.directory.join(KILLED), "")?;
        self.start(&agent)
    }

    fn start(&mut self, agent: &AgentId) -> Result<(), Failure> {
        match self.plan.agents.iter().find(|planned| planned.id == *agent) {
            Some(planned) => self.crew.start(planned),
            None => Ok(()),
        }
    }

    fn is_spent(&self, task: Option<&TaskId>) -> bool {
        let spent = self.plan.agents.iter().find(|agent| agent.id.as_str() == SPENT);
        let task = self.plan.tasks.iter().find(|planned| Some(&planned.id) == task);
        spent.zip(task).is_some_and(|(agent, task)| task.create.labels.is_subset(&agent.capabilities))
    }

    /// Gives the agent more that has nothing left.
    async fn raise(&mut self) -> Result<(), Failure> {
        self.raised = true;
        let agent: AgentId = SPENT.parse()?;
        let more =
            AgentAllowance { daily_token_limit: RAISED_TOKENS, ..self.client.allowance(&agent).await? };
        self.client.set_allowance(&more).await?;
        self.say(&format!("raised the limit of {agent} to {RAISED_TOKENS} tokens a day"));
        Ok(())
    }

    /// Says what a person may want to know of an event.
    fn tell_event(&self, event: &Event) {
        let task = event.task_id.as_ref().map(TaskId::as_str).unwrap_or_default();
        let agent = event.agent_id.as_ref().map(AgentId::as_str).unwrap_or_default();
        let text = |name: &str| {
            event.payload.as_ref().and_then(|payload| payload[name].as_str()).unwrap_or_default()
        };
        match event.kind {
            EventType::TaskCompleted => self.say(&format!("{agent} completed {task}")),
            EventType::TaskRetryScheduled => {
                let why = text("error").lines().last().unwrap_or_default();
                self.say(&format!("{task} failed on {agent}, and is retried: {why}"));
            }
            EventType::TaskDeadLettered => self.say(&format!("{task} is given up: {}", text("reason"))),
            EventType::LeaseExpired => self.say(&format!("the lease of {agent} on {task} ran out")),
            EventType::DispatchFailedQuota => self.say(&format!("{task} waits: a limit has no room")),
            EventType::AgentOffline => self.say(&format!("{agent} is offline")),
            EventType::AgentOnline => self.say(&format!("{agent} is back")),
            _ => {}
        }
    }

    fn say(&self, text: &str) {
        self.bar.suspend(|| self.printer.note(text));
    }

    /// What has not ended.
    pub(super) fn unfinished(&self) -> Vec<&TaskId> {
        self.plan.tasks.iter().map(|task| &task.id).filter(|id| !self.finished.contains(*id)).collect()
    }
}

fn bar(tasks: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} tasks ended, {elapsed}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(tasks as u64).with_style(style);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
