//! Tasks: the units of work that people submit.

use std::{collections::BTreeSet, fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    amount::Amount,
    clock::Timestamp,
    error::{Error, Result},
    id::{AgentId, Label, ModelName, ProjectName, TaskId},
    lane::Lane,
};

/// The longest title, in characters.
pub const MAX_TITLE: usize = 500;
/// The longest description, output or error, in bytes.
pub const MAX_TEXT: usize = 512 * 1024;
/// The most dependencies of one task.
pub const MAX_DEPENDENCIES: usize = 100;
/// The most tasks that wait for one task.
pub const MAX_BLOCKERS: usize = 1_000;
/// The most labels, or capabilities, in one set.
pub const MAX_LABELS: usize = 64;
/// The most files that a task names, and artifacts that a result names.
pub const MAX_FILES: usize = 1_000;
/// The longest path of a file or an artifact, in bytes.
pub const MAX_PATH: usize = 4_096;
/// The longest idempotency key, in bytes.
pub const MAX_KEY: usize = 255;
/// The most tasks that one call creates.
pub const MAX_BATCH: usize = 1_000;
/// The retries of a task that does not say.
pub const DEFAULT_MAX_RETRIES: u32 = 3;
/// The most retries that a task may ask for.
pub const MAX_RETRIES: u32 = 1_000;

/// How urgent a task is; the order of the variants is the order of dispatch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Before everything, and sent to the least loaded agent whatever its size.
    Critical,
    /// Before normal.
    High,
    /// The default; `medium` is read as this.
    #[default]
    #[serde(alias = "medium")]
    Normal,
    /// After everything.
    Low,
}

impl Priority {
    /// All priorities, most urgent first.
    pub const ALL: [Self; 4] = [Self::Critical, Self::High, Self::Normal, Self::Low];

    /// The name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }

    /// 0 for critical to 3 for low: the order of dispatch as a number.
    pub const fn rank(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Priority {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "critical" => Ok(Self::Critical),
            "high" => Ok(Self::High),
            "normal" | "medium" => Ok(Self::Normal),
            "low" => Ok(Self::Low),
            _ => Err(Error::invalid("priority", "must be one of critical, high, normal, low")),
        }
    }
}

/// Where a task is in its life (design §5).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskStatus {
    /// Waits to be claimed.
    #[default]
    Pending,
    /// An agent has it, under a lease.
    InProgress,
    /// Done; final.
    Completed,
    /// Waits for its dependencies, or for a person.
    Blocked,
    /// Given up; final until it is requeued. The dead letter.
    Failed,
    /// Called off; final until it is requeued.
    Cancelled,
}

impl TaskStatus {
    /// All statuses.
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::InProgress, Self::Completed, Self::Blocked, Self::Failed, Self::Cancelled];

    /// The name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Blocked => "blocked",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing happens to the task by itself any more.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

impl fmt::Display for TaskStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for TaskStatus {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or_else(|| {
            Error::invalid(
                "status",
                "must be one of pending, in_progress, completed, blocked, failed, cancelled",
            )
        })
    }
}

/// Why a task is blocked; it waits until every cause has cleared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockCause {
    /// A dependency is not completed.
    Dependency,
    /// A person blocked it.
    Manual,
}

/// Why a task that is not final does not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingReason {
    /// Stable, for programs: `queued`, `backoff`, `not_before`, `dependency`, `manual`, `no_agent`, `quota`,
    /// `at_capacity`, `deferred`.
    pub code: String,
    /// One sentence, for people.
    pub detail: String,
    /// When it is worth another look, where that can be computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
}

/// What an attempt brought.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskResult {
    /// Whether the work was done.
    pub success: bool,
    /// What the agent says.
    #[serde(default)]
    pub output: String,
    /// Names of what it left.
    #[serde(default)]
    pub artifacts: Vec<String>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
}

impl TaskResult {
    /// Refuses texts and lists over their bounds.
    ///
    /// # Errors
    /// `Invalid`, naming the field.
    pub fn validate(&self) -> Result<()> {
        check_text("output", &self.output)?;
        check_text("error_message", self.error_message.as_deref().unwrap_or_default())?;
        check_paths("artifacts", &self.artifacts)
    }
}

/// A task as everybody sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// UUIDv7 unless the submitter gave one.
    pub id: TaskId,
    /// 1–500 characters.
    pub title: String,
    /// What is to be done.
    #[serde(default)]
    pub description: String,
    /// How urgent.
    #[serde(default)]
    pub priority: Priority,
    /// Where it is in its life.
    #[serde(default)]
    pub status: TaskStatus,
    /// What an agent must be capable of.
    #[serde(default)]
    pub labels: BTreeSet<Label>,
    /// Files that it concerns, as the submitter named them.
    #[serde(default)]
    pub files: Vec<String>,
    /// Whose budget it is held against.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<ProjectName>,
    /// The model it needs; absent = the agent's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelName>,
    /// Tasks that must be completed first; fixed at creation.
    #[serde(default)]
    pub dependencies: Vec<TaskId>,
    /// Tasks that wait for this one; derived on read.
    #[serde(default)]
    pub blockers: Vec<TaskId>,
    /// Why it is blocked; empty unless it is.
    #[serde(default)]
    pub blocked_by: BTreeSet<BlockCause>,
    /// When it was submitted.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Not claimable before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Not claimable before, because of backoff or deferral; the only gate of a retry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
    /// Who has it, or had it when it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_by: Option<AgentId>,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_at: Option<Timestamp>,
    /// Until when, unless renewed; only while in progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_expires_at: Option<Timestamp>,
    /// The number of the latest attempt, 0 before the first: the fence.
    #[serde(default)]
    pub attempt: u32,
    /// How many failed attempts may be followed by another.
    #[serde(default = "default_max_retries")]
    pub max_retries: u32,
    /// Failed attempts since creation or requeue that were followed by another.
    #[serde(default)]
    pub retry_count: u32,
    /// When the latest attempt ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_attempt: Option<Timestamp>,
    /// Why it failed for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fail_reason: Option<String>,
    /// What the latest failed attempt said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// 0–100, of the latest attempt.
    #[serde(default)]
    pub progress: u8,
    /// The latest notes of whoever works on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
    /// What the completed attempt brought.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<TaskResult>,
    /// What the submitter believes that it will take; reserved at admission.
    #[serde(default)]
    pub estimated_tokens: Amount,
    /// The submitter's key, under which it is created once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// Why it waits; on read only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_reason: Option<PendingReason>,
}

fn default_max_retries() -> u32 {
    DEFAULT_MAX_RETRIES
}

impl Task {
    /// The lane it stands in.
    pub fn lane(&self) -> Lane {
        Lane { labels: self.labels.clone(), model: self.model.clone(), project: self.project.clone() }
    }

    /// The earliest instant at which it can be claimed: the later of `not_before` and `retry_at`.
    pub fn ready_at(&self) -> Timestamp {
        self.not_before.max(self.retry_at).unwrap_or(Timestamp::MIN)
    }

    /// Where it stands in its lane: more urgent, then older, then by id.
    pub fn order(&self) -> (Priority, Timestamp, &TaskId) {
        (self.priority, self.created_at, &self.id)
    }
}

/// A task to be created, complete but for what the store adds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewTask {
    /// Its id.
    pub id: TaskId,
    /// 1–500 characters, not only white space.
    pub title: String,
    /// What is to be done.
    pub description: String,
    /// How urgent.
    pub priority: Priority,
    /// What an agent must be capable of.
    pub labels: BTreeSet<Label>,
    /// Files that it concerns.
    pub files: Vec<String>,
    /// Whose budget it is held against.
    pub project: Option<ProjectName>,
    /// The model it needs.
    pub model: Option<ModelName>,
    /// Tasks that must be completed first: existing ones, or others of the same batch.
    pub dependencies: Vec<TaskId>,
    /// Not claimable before.
    pub not_before: Option<Timestamp>,
    /// How many failed attempts may be followed by another.
    pub max_retries: u32,
    /// What to reserve at admission.
    pub estimated_tokens: Amount,
    /// The submitter's key.
    pub idempotency_key: Option<String>,
}

impl NewTask {
    /// A task with a title and the defaults.
    pub fn new(id: TaskId, title: impl Into<String>) -> Self {
        Self {
            id,
            title: title.into(),
            description: String::new(),
            priority: Priority::Normal,
            labels: BTreeSet::new(),
            files: Vec::new(),
            project: None,
            model: None,
            dependencies: Vec::new(),
            not_before: None,
            max_retries: DEFAULT_MAX_RETRIES,
            estimated_tokens: Amount::ZERO,
            idempotency_key: None,
        }
    }

    /// Refuses what breaks a bound of design §4.
    ///
    /// # Errors
    /// `Invalid`, naming the field.
    pub fn validate(&self) -> Result<()> {
        check_title(&self.title)?;
        check_text("description", &self.description)?;
        check_labels("labels", &self.labels)?;
        check_paths("files", &self.files)?;
        if self.dependencies.len() > MAX_DEPENDENCIES {
            return Err(Error::invalid("dependencies", "must be at most 100"));
        }
        if self.dependencies.iter().collect::<BTreeSet<_>>().len() != self.dependencies.len() {
            return Err(Error::invalid("dependencies", "must not name a task twice"));
        }
        if self.dependencies.contains(&self.id) {
            return Err(Error::invalid("dependencies", "must not name the task itself"));
        }
        if self.max_retries > MAX_RETRIES {
            return Err(Error::invalid("max_retries", "must be at most 1000"));
        }
        if let Some(key) = &self.idempotency_key
            && (key.is_empty() || key.len() > MAX_KEY || key.chars().any(char::is_control))
        {
            return Err(Error::invalid("idempotency_key", "must have 1 to 255 bytes, no control characters"));
        }
        Ok(())
    }

    /// A digest of what was asked, so that a key that comes back with another request is noticed.
    ///
    /// The id is left out: a submitter that lets us choose it must be able to repeat its call.
    pub fn digest(&self) -> String {
        crate::digest::of(&(
            &self.title,
            &self.description,
            &self.priority,
            &self.labels,
            &self.files,
            (&self.project, &self.model, &self.dependencies),
            (&self.not_before, &self.max_retries, &self.estimated_tokens),
        ))
    }

    /// The task as it stands right after creation, before its dependencies are looked at.
    pub fn into_task(self, now: Timestamp) -> Task {
        Task {
            id: self.id,
            title: self.title,
            description: self.description,
            priority: self.priority,
            status: TaskStatus::Pending,
            labels: self.labels,
            files: self.files,
            project: self.project,
            model: self.model,
            dependencies: self.dependencies,
            blockers: Vec::new(),
            blocked_by: BTreeSet::new(),
            created_at: now,
            updated_at: now,
            not_before: self.not_before,
            retry_at: None,
            claimed_by: None,
            claimed_at: None,
            lease_expires_at: None,
            attempt: 0,
            max_retries: self.max_retries,
            retry_count: 0,
            last_attempt: None,
            fail_reason: None,
            last_error: None,
            progress: 0,
            notes: None,
            result: None,
            estimated_tokens: self.estimated_tokens,
            idempotency_key: self.idempotency_key,
            pending_reason: None,
        }
    }
}

/// A change of a task that waits; absent fields stay.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskEdit {
    /// How urgent.
    pub priority: Option<Priority>,
    /// What an agent must be capable of; moves the task to another lane.
    pub labels: Option<BTreeSet<Label>>,
    /// The model it needs; moves the task to another lane.
    pub model: Option<ModelName>,
    /// Not claimable before.
    pub not_before: Option<Timestamp>,
    /// What is to be done.
    pub description: Option<String>,
}

impl TaskEdit {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Refuses what breaks a bound of design §4.
    ///
    /// # Errors
    /// `Invalid`, naming the field.
    pub fn validate(&self) -> Result<()> {
        check_labels("labels", self.labels.as_ref().unwrap_or(&BTreeSet::new()))?;
        check_text("description", self.description.as_deref().unwrap_or_default())
    }
}

/// What the holder says while it works; absent fields stay.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskUpdate {
    /// The status to move to.
    pub status: Option<TaskStatus>,
    /// 0–100.
    pub progress: Option<u8>,
    /// Free text.
    pub notes: Option<String>,
}

impl TaskUpdate {
    /// Refuses progress above 100 and notes over the bound.
    ///
    /// # Errors
    /// `Invalid`, naming the field.
    pub fn validate(&self) -> Result<()> {
        if self.progress.is_some_and(|progress| progress > 100) {
            return Err(Error::invalid("progress", "must be 0 to 100"));
        }
        check_text("notes", self.notes.as_deref().unwrap_or_default())
    }
}

/// Which tasks to list; absent = any.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskFilter {
    /// In this status.
    pub status: Option<TaskStatus>,
    /// With all of these labels.
    pub labels: BTreeSet<Label>,
    /// Of this priority.
    pub priority: Option<Priority>,
    /// Of this project.
    pub project: Option<ProjectName>,
    /// Held by this agent, or held by it when they ended.
    pub claimed_by: Option<AgentId>,
}

impl TaskFilter {
    /// Whether `task` is wanted.
    pub fn matches(&self, task: &Task) -> bool {
        self.status.is_none_or(|status| task.status == status)
            && self.labels.is_subset(&task.labels)
            && self.priority.is_none_or(|priority| task.priority == priority)
            && (self.project.is_none() || task.project == self.project)
            && (self.claimed_by.is_none() || task.claimed_by == self.claimed_by)
    }
}

/// A position in a list of tasks: after the task created then, with this id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TaskCursor {
    /// When it was created.
    pub created_at: Timestamp,
    /// Its id.
    pub id: TaskId,
}

impl fmt::Display for TaskCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.created_at.millis(), self.id)
    }
}

impl FromStr for TaskCursor {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::invalid("cursor", "must be one that a Link header gave");
        let (millis, id) = text.split_once('/').ok_or_else(wrong)?;
        let millis = millis.parse().map_err(|_| wrong())?;
        Ok(Self { created_at: Timestamp::from_millis(millis), id: id.parse().map_err(|_| wrong())? })
    }
}

/// Which part of a list: at most `limit` rows (1–1,000) after `cursor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// How many.
    pub limit: usize,
    /// After which; absent = from the start.
    pub cursor: Option<TaskCursor>,
}

impl Page {
    /// The rows of a page that is not asked for otherwise.
    pub const DEFAULT_LIMIT: usize = 100;
    /// The most rows of a page.
    pub const MAX_LIMIT: usize = 1_000;

    /// The first page of at most `limit` rows.
    pub fn first(limit: usize) -> Self {
        Self { limit, cursor: None }
    }
}

/// How long a title, description or message may be, and what it may contain.
fn check_text(field: &str, text: &str) -> Result<()> {
    if text.len() > MAX_TEXT {
        return Err(Error::invalid(field, "must have at most 524288 bytes (512 KiB)"));
    }
    if text.contains('\0') {
        return Err(Error::invalid(field, "must not contain a NUL character"));
    }
    Ok(())
}

fn check_title(title: &str) -> Result<()> {
    check_text("title", title)?;
    if title.trim().is_empty() {
        return Err(Error::invalid("title", "must not be empty"));
    }
    if title.chars().count() > MAX_TITLE {
        return Err(Error::invalid("title", "must have at most 500 characters"));
    }
    Ok(())
}

/// Refuses more labels, or capabilities, than a set may have.
///
/// # Errors
/// `Invalid`, naming `field`.
pub(crate) fn check_labels(field: &str, labels: &BTreeSet<Label>) -> Result<()> {
    if labels.len() > MAX_LABELS {
        return Err(Error::invalid(field, "must be at most 64"));
    }
    Ok(())
}

fn check_paths(field: &str, paths: &[String]) -> Result<()> {
    if paths.len() > MAX_FILES {
        return Err(Error::invalid(field, "must be at most 1000"));
    }
    if paths.iter().any(|path| path.is_empty() || path.len() > MAX_PATH || path.contains('\0')) {
        return Err(Error::invalid(field, "must each have 1 to 4096 bytes and no NUL character"));
    }
    Ok(())
}

/// A duration as the whole seconds that JSON carries, rounded up.
pub fn whole_secs(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(title: &str) -> NewTask {
        NewTask::new("t".parse().unwrap(), title)
    }

    #[test]
    fn titles_are_bounded() {
        assert!(task("x").validate().is_ok());
        assert!(task(&"ä".repeat(500)).validate().is_ok());
        for bad in ["", "  \n", &"x".repeat(501), "a\0"] {
            assert!(task(bad).validate().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn dependencies_are_bounded_and_distinct() {
        let ids = |n: usize| (0..n).map(|i| format!("d{i}").parse().unwrap()).collect::<Vec<TaskId>>();
        assert!(NewTask { dependencies: ids(100), ..task("x") }.validate().is_ok());
        assert!(NewTask { dependencies: ids(101), ..task("x") }.validate().is_err());
        let twice = vec!["d".parse().unwrap(), "d".parse().unwrap()];
        assert!(NewTask { dependencies: twice, ..task("x") }.validate().is_err());
        assert!(NewTask { dependencies: vec!["t".parse().unwrap()], ..task("x") }.validate().is_err());
    }

    #[test]
    fn medium_is_normal() {
        assert_eq!(serde_json::from_str::<Priority>("\"medium\"").unwrap(), Priority::Normal);
        assert_eq!("medium".parse::<Priority>().unwrap(), Priority::Normal);
        assert!(Priority::Critical < Priority::High && Priority::Normal < Priority::Low);
    }

    #[test]
    fn a_task_reads_what_it_writes() {
        let task = NewTask { priority: Priority::High, ..task("x") }.into_task(Timestamp::EPOCH);
        let json = serde_json::to_string(&task).unwrap();
        assert_eq!(serde_json::from_str::<Task>(&json).unwrap(), task);
    }

    #[test]
    fn the_digest_ignores_the_id_and_sees_the_rest() {
        let (a, b) = (task("x"), NewTask { id: "u".parse().unwrap(), ..task("x") });
        assert_eq!(a.digest(), b.digest());
        assert_ne!(a.digest(), task("y").digest());
    }

    #[test]
    fn cursors_read_what_they_write() {
        let cursor = TaskCursor { created_at: Timestamp::from_millis(-5), id: "a.b".parse().unwrap() };
        assert_eq!(cursor.to_string().parse::<TaskCursor>().unwrap(), cursor);
        assert!("x".parse::<TaskCursor>().is_err());
    }
}
