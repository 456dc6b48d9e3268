//! Tasks over HTTP.

use agentic_core::{
    api::{CancelBody, ClaimTask, CompleteTask, CreateTask, PatchTask, ReleaseTask, TaskMessage},
    error::{Error, Result},
    event::{Event, EventId},
    explain::Explanation,
    id::{Label, TaskId},
    task::{Page, Priority, Task, TaskFilter},
};
use futures_util::stream::{self, Stream, TryStreamExt as _};
use reqwest::{Method, header::HeaderName};

use crate::{Client, TaskPage, page};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

impl Client {
    /// Submits a task with the defaults but for these.
    pub async fn submit(
        &self,
        title: impl Into<String>,
        description: impl Into<String>,
        labels: impl IntoIterator<Item = Label>,
        priority: Priority,
    ) -> Result<Task> {
        let labels = labels.into_iter().collect();
        let create =
            CreateTask { description: description.into(), labels, priority, ..CreateTask::new(title) };
        self.create_task(&create).await
    }

    /// Creates a task; repeated where it has a key.
    pub async fn create_task(&self, task: &CreateTask) -> Result<Task> {
        let call = self.post(&["api", "tasks"]).repeat_if(task.idempotency_key.is_some());
        call.body(task)?.answer().await
    }

    /// Creates up to 1,000 tasks, all or none; repeated where they have a key.
    pub async fn create_tasks(
        &self,
        tasks: &[CreateTask],
        idempotency_key: Option<&str>,
    ) -> Result<Vec<Task>> {
        let keyed = idempotency_key.is_some() || tasks.iter().all(|task| task.idempotency_key.is_some());
        let call = self.post(&["api", "tasks"]).repeat_if(keyed).body(&tasks)?;
        let call = match idempotency_key {
            Some(key) => call.header(IDEMPOTENCY_KEY, key)?,
            None => call,
        };
        call.answer().await
    }

    /// Reads a task.
    pub async fn get_task(&self, id: &TaskId) -> Result<Task> {
        self.get(&["api", "tasks", id.as_str()]).answer().await
    }

    /// Reads a page of the tasks that match.
    pub async fn list_tasks(&self, filter: &TaskFilter, page: &Page) -> Result<TaskPage> {
        let labels: Vec<&str> = filter.labels.iter().map(Label::as_str).collect();
        let call = self
            .get(&["api", "tasks"])
            .maybe_query("status", filter.status)
            .maybe_query("labels", (!labels.is_empty()).then(|| labels.join(",")))
            .maybe_query("priority", filter.priority)
            .maybe_query("project", filter.project.as_ref())
            .maybe_query("claimed_by", filter.claimed_by.as_ref())
            .query("limit", page.limit)
            .maybe_query("cursor", page.cursor.as_ref());
        let answer = call.send().await?;
        Ok(TaskPage { tasks: answer.read()?, next: page::next_cursor(self.base_url(), &answer.headers)? })
    }

    /// Reads all tasks that match, page after page as they are asked for.
    pub fn all_tasks(&self, filter: &TaskFilter) -> impl Stream<Item = Result<Task>> + Send + use<> {
        let (client, filter) = (self.clone(), filter.clone());
        let pages = stream::try_unfold(Some(Page::first(Page::DEFAULT_LIMIT)), move |page| {
            let (client, filter) = (client.clone(), filter.clone());
            async move {
                let Some(page) = page else { return Ok::<_, Error>(None) };
                let TaskPage { tasks, next } = client.list_tasks(&filter, &page).await?;
                let next = next.map(|cursor| Page { cursor: Some(cursor), ..page });
                Ok(Some((stream::iter(tasks.into_iter().map(Ok)), next)))
            }
        });
        pages.try_flatten()
    }

    /// Tells how an attempt goes, or edits a task that waits.
    pub async fn patch_task(&self, id: &TaskId, patch: &PatchTask) -> Result<Task> {
        self.call(Method::PATCH, &["api", "tasks", id.as_str()]).body(patch)?.answer().await
    }

    /// Takes a task, and starts its attempt.
    pub async fn claim_task(&self, id: &TaskId, claim: &ClaimTask) -> Result<TaskMessage> {
        self.post(&["api", "tasks", id.as_str(), "claim"]).body(claim)?.answer().await
    }

    /// Ends an attempt, well or badly; repeated where it names the attempt.
    pub async fn complete_task(&self, id: &TaskId, complete: &CompleteTask) -> Result<TaskMessage> {
        let call =
            self.post(&["api", "tasks", id.as_str(), "complete"]).repeat_if(complete.attempt.is_some());
        call.body(complete)?.answer().await
    }

    /// Gives an attempt back; repeated where it names the attempt.
    pub async fn release_task(&self, id: &TaskId, release: &ReleaseTask) -> Result<TaskMessage> {
        let call = self.post(&["api", "tasks", id.as_str(), "release"]).repeat_if(release.attempt.is_some());
        call.body(release)?.answer().await
    }

    /// Calls a task off.
    pub async fn cancel_task(&self, id: &TaskId, reason: impl Into<String>) -> Result<TaskMessage> {
        let body = CancelBody { reason: reason.into() };
        self.post(&["api", "tasks", id.as_str(), "cancel"]).body(&body)?.answer().await
    }

    /// Puts a failed or cancelled task back.
    pub async fn requeue_task(&self, id: &TaskId) -> Result<TaskMessage> {
        self.post(&["api", "tasks", id.as_str(), "requeue"]).answer().await
    }

    /// Reads at most `limit` events of a task after `after`, 0 = from the first.
    pub async fn history(&self, id: &TaskId, after: EventId, limit: usize) -> Result<Vec<Event>> {
        let call = self.get(&["api", "tasks", id.as_str(), "history"]);
        call.query("after", after).query("limit", limit).answer().await
    }

    /// Says what a task's state means now, and what at most `agents` agents could do about one that waits.
    pub async fn explain(&self, id: &TaskId, agents: usize) -> Result<Explanation> {
        self.get(&["api", "tasks", id.as_str(), "explain"]).query("agents", agents).answer().await
    }

    /// Says what creating up to 1,000 tasks would answer, and who would take each now; writes nothing.
    pub async fn dry_run(&self, tasks: &[CreateTask], agents: usize) -> Result<Vec<Explanation>> {
        let call = self.post(&["api", "tasks"]).repeat_if(true).query("dry_run", true);
        call.query("agents", agents).body(&tasks)?.answer().await
    }
}
