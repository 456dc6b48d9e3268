//! The JSON of the HTTP API (design §10): what client and server both need to know.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, Serialize};

use crate::{
    agent::{AgentInfo, AgentSpec},
    allowance::CostBasis,
    amount::Amount,
    clock::Timestamp,
    error::{ConflictCode, Error, Kind, Result},
    id::{AgentId, Label, ModelName, ProjectName, TaskId},
    limit::Refusal,
    task::{DEFAULT_MAX_RETRIES, NewTask, Priority, Task, TaskEdit, TaskStatus, TaskUpdate},
    usage::{Directive, Figures},
};

/// Reads `null` as the default: Go writes an empty list so.
fn null_is_default<'de, D, T>(deserializer: D) -> std::result::Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// `POST /api/tasks`: one task; the body may also be an array of them.
///
/// An empty `id` is an absent one, and `status`, `created_at` and `updated_at` are ignored: the Go client sends them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CreateTask {
    /// The id; absent = the server makes one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// 1–500 characters.
    pub title: String,
    /// What is to be done.
    #[serde(deserialize_with = "null_is_default")]
    pub description: String,
    /// How urgent.
    pub priority: Priority,
    /// What an agent must be capable of.
    #[serde(deserialize_with = "null_is_default")]
    pub labels: BTreeSet<Label>,
    /// Files that it concerns.
    #[serde(deserialize_with = "null_is_default")]
    pub files: Vec<String>,
    /// Whose budget it is held against.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<ProjectName>,
    /// The model it needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelName>,
    /// Tasks that must be completed first.
    #[serde(deserialize_with = "null_is_default")]
    pub dependencies: Vec<TaskId>,
    /// Not claimable before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// How many failed attempts may be followed by another; absent = 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<u32>,
    /// What to reserve at admission.
    #[serde(skip_serializing_if = "Amount::is_zero_ref")]
    pub estimated_tokens: Amount,
    /// The submitter's key; the `Idempotency-Key` header fills it in where it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// Ignored.
    #[serde(skip_serializing)]
    pub status: Option<serde_json::Value>,
    /// Ignored.
    #[serde(skip_serializing)]
    pub created_at: Option<serde_json::Value>,
    /// Ignored.
    #[serde(skip_serializing)]
    pub updated_at: Option<serde_json::Value>,
}

impl CreateTask {
    /// A task with a title and the defaults.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), ..Self::default() }
    }

    /// The task to create, under its own id or `fresh`.
    ///
    /// # Errors
    /// `Invalid` for a malformed id.
    pub fn into_new(self, fresh: impl FnOnce() -> TaskId) -> Result<NewTask> {
        let id = if self.id.is_empty() { fresh() } else { self.id.parse()? };
        Ok(NewTask {
            id,
            title: self.title,
            description: self.description,
            priority: self.priority,
            labels: self.labels,
            files: self.files,
            project: self.project,
            model: self.model,
            dependencies: self.dependencies,
            not_before: self.not_before,
            max_retries: self.max_retries.unwrap_or(DEFAULT_MAX_RETRIES),
            estimated_tokens: self.estimated_tokens,
            idempotency_key: self.idempotency_key,
        })
    }
}

/// `PATCH /api/tasks/{id}`: what the holder says of its attempt, or an edit of a task that waits; never both.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PatchTask {
    /// The status to move to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<TaskStatus>,
    /// 0–100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<u8>,
    /// Free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
    /// The attempt that speaks; absent = the current one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// How urgent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// What an agent must be capable of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeSet<Label>>,
    /// The model it needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelName>,
    /// Not claimable before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// What is to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

impl PatchTask {
    /// The holder's part.
    pub fn update(&self) -> TaskUpdate {
        TaskUpdate { status: self.status, progress: self.progress, notes: self.notes.clone() }
    }

    /// The editor's part.
    pub fn edit(&self) -> TaskEdit {
        TaskEdit {
            priority: self.priority,
            labels: self.labels.clone(),
            model: self.model.clone(),
            not_before: self.not_before,
            description: self.description.clone(),
        }
    }
}

/// `POST /api/tasks/{id}/claim`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimTask {
    /// Who takes it.
    pub agent_id: AgentId,
    /// How long its lease lasts, in seconds, renewed by each of its calls; absent = the server's `claim_lease`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_secs: Option<u64>,
}

/// `POST /api/tasks/{id}/complete`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CompleteTask {
    /// Whether the work was done; `false` fails the attempt under the retry policy.
    pub success: bool,
    /// What the agent says.
    #[serde(deserialize_with = "null_is_default")]
    pub output: String,
    /// Names of what it left.
    #[serde(deserialize_with = "null_is_default")]
    pub artifacts: Vec<String>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// The attempt that speaks; absent = the current one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// What it used in all, if it was not reported before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Figures>,
    /// With `success: false`: the provider's usage limit is used up until then. The attempt is given back instead of failed,
    /// and nothing more of its model is given to its agent until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resets_at: Option<Timestamp>,
}

/// `POST /api/tasks/{id}/release`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReleaseTask {
    /// Why.
    pub reason: String,
    /// The attempt that speaks; absent = the current one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// What it used in all, if it was not reported before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Figures>,
    /// The provider's usage limit is used up until then: nothing more of its model is given to its agent until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resets_at: Option<Timestamp>,
}

/// `POST /api/tasks/{id}/cancel`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CancelBody {
    /// Why.
    pub reason: String,
}

/// The answer of a claim, a completion, a release, a cancellation and a requeue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskMessage {
    /// The task as it stands.
    pub task: Task,
    /// One sentence, for people.
    pub message: String,
}

/// `POST /api/agents`. What the server decides itself is ignored: the Go client sends it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegisterAgent {
    /// Its id.
    pub id: AgentId,
    /// For people.
    #[serde(default, deserialize_with = "null_is_default")]
    pub name: String,
    /// The labels that it can serve.
    #[serde(default, deserialize_with = "null_is_default")]
    pub capabilities: BTreeSet<Label>,
    /// The models that it can use, the default first; empty = any.
    #[serde(default, deserialize_with = "null_is_default")]
    pub models: Vec<ModelName>,
    /// How many attempts at once; 0 = unlimited.
    #[serde(default)]
    pub max_load: u32,
    /// Ignored.
    #[serde(default, skip_serializing)]
    pub status: Option<serde_json::Value>,
    /// Ignored.
    #[serde(default, skip_serializing)]
    pub last_heartbeat: Option<serde_json::Value>,
    /// Ignored.
    #[serde(default, skip_serializing)]
    pub current_load: Option<serde_json::Value>,
    /// Ignored.
    #[serde(default, skip_serializing)]
    pub registered_at: Option<serde_json::Value>,
}

impl From<RegisterAgent> for AgentSpec {
    fn from(body: RegisterAgent) -> Self {
        let RegisterAgent { id, name, capabilities, models, max_load, .. } = body;
        Self { id, name, capabilities, models, max_load }
    }
}

impl From<AgentSpec> for RegisterAgent {
    fn from(spec: AgentSpec) -> Self {
        let AgentSpec { id, name, capabilities, models, max_load } = spec;
        Self {
            id,
            name,
            capabilities,
            models,
            max_load,
            status: None,
            last_heartbeat: None,
            current_load: None,
            registered_at: None,
        }
    }
}

/// One running attempt in a heartbeat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunningAttempt {
    /// The task.
    pub task_id: TaskId,
    /// The attempt.
    pub attempt: u32,
    /// What it used so far, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Figures>,
}

/// `POST /api/agents/{id}/heartbeat`; an empty body says only that the agent lives.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HeartbeatBody {
    /// Which start of the agent; absent = whichever is current.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<u64>,
    /// What it runs; at most 1,000.
    pub attempts: Vec<RunningAttempt>,
}

/// The answer of a heartbeat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeartbeatAnswer {
    /// The agent as it stands.
    pub agent: AgentInfo,
    /// One for each attempt that was named, in that order.
    pub directives: Vec<AttemptDirective>,
}

/// What one attempt is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptDirective {
    /// The task.
    pub task_id: TaskId,
    /// The attempt.
    pub attempt: u32,
    /// What to do.
    pub directive: Directive,
    /// Why, unless it is to go on: `lease_lost`, `cancelled`, `time_bound`, or a limit in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Seconds until its lease ends, for a worker whose clock is not the server's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_secs: Option<u64>,
    /// Tokens left under the tightest limit; absent = unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining_tokens: Option<Amount>,
    /// Micro-dollars that its job was charged so far.
    #[serde(default)]
    pub cost_micros: Amount,
    /// Where they come from; absent where nobody says what the job costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_source: Option<CostBasis>,
}

/// One line of `GET /api/lanes`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LaneBody {
    /// What an agent must be capable of.
    pub labels: BTreeSet<Label>,
    /// The model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelName>,
    /// The project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<ProjectName>,
    /// Its first ready task.
    pub head: TaskId,
    /// Why it is parked, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parked: Option<crate::task::PendingReason>,
}

/// An error on the wire: RFC 9457 `application/problem+json` with a stable `code`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// What went wrong, in the words of the status code.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// Stable, for programs.
    pub code: String,
    /// One sentence that says what to do.
    pub detail: String,
    /// The kind of thing that does not exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// Its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The field that breaks a rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Who holds the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<AgentId>,
    /// The limit that refused, with its figures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
}

impl Problem {
    /// A problem that no [`Error`] stands for.
    pub fn new(
        status: u16,
        title: impl Into<String>,
        code: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            title: title.into(),
            status,
            code: code.into(),
            detail: detail.into(),
            kind: None,
            id: None,
            field: None,
            holder: None,
            refusal: None,
        }
    }
}

/// What a problem says behind the name of what is away.
const UNAVAILABLE: &str = " is unavailable; try again";

impl From<&Error> for Problem {
    /// Says what the caller may know; what failed inside stays inside.
    fn from(error: &Error) -> Self {
        let problem = |status, title: &str, detail: String| Self::new(status, title, error.code(), detail);
        match error {
            Error::NotFound { kind, id } => Self {
                kind: Some(*kind),
                id: Some(id.clone()),
                ..problem(404, "Not Found", error.to_string())
            },
            Error::Conflict { code: ConflictCode::IdempotencyMismatch, .. } => {
                problem(422, "Unprocessable Content", error.to_string())
            }
            Error::Conflict { code: ConflictCode::CursorTrimmed, .. } => {
                problem(410, "Gone", error.to_string())
            }
            Error::Conflict { holder, .. } => {
                Self { holder: holder.clone(), ..problem(409, "Conflict", error.to_string()) }
            }
            Error::Invalid { field, detail } => {
                Self { field: Some(field.clone()), ..problem(422, "Unprocessable Content", detail.clone()) }
            }
            Error::Refused(refusal) => {
                let refused = problem(429, "Too Many Requests", refusal.to_string());
                Self { refusal: Some((**refusal).clone()), ..refused }
            }
            Error::Unavailable { what, .. } => {
                problem(503, "Service Unavailable", format!("{what}{UNAVAILABLE}"))
            }
            Error::Unsupported { .. } => problem(501, "Not Implemented", error.to_string()),
            Error::Backend { .. } => {
                problem(500, "Internal Server Error", "the server failed; its log says why".to_owned())
            }
        }
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        let code = serde_json::from_value(serde_json::Value::String(problem.code.clone()));
        match (problem.code.as_str(), problem.kind, problem.refusal, code) {
            ("not_found", Some(kind), ..) => Self::NotFound { kind, id: problem.id.unwrap_or_default() },
            ("refused_by_limit", _, Some(refusal), _) => Self::Refused(Box::new(refusal)),
            ("unavailable", ..) => {
                Self::unavailable(problem.detail.strip_suffix(UNAVAILABLE).unwrap_or("the server's back end"))
            }
            ("unsupported", ..) => Self::Unsupported { what: problem.detail },
            (_, _, _, Ok(code)) => Self::Conflict { code, detail: problem.detail, holder: problem.holder },
            ("invalid", ..) => {
                Self::invalid(problem.field.unwrap_or_else(|| "request".to_owned()), problem.detail)
            }
            _ if problem.status >= 500 => Self::backend(format!("the server ({})", problem.detail)),
            (code, ..) => Self::invalid(code, problem.detail),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_go_body_is_understood() {
        let body = r#"{"id":"","title":"x","status":"pending","created_at":"0001-01-01T00:00:00Z",
            "updated_at":"0001-01-01T00:00:00Z","priority":"medium","labels":["a"]}"#;
        let new = serde_json::from_str::<CreateTask>(body).unwrap();
        let new = new.into_new(|| "fresh".parse().unwrap()).unwrap();
        assert_eq!((new.id.as_str(), new.priority, new.max_retries), ("fresh", Priority::Normal, 3));
        assert!(serde_json::from_str::<CreateTask>(r#"{"title":"x","nope":1}"#).is_err());
        let nulls = r#"{"title":"x","labels":null,"files":null,"dependencies":null}"#;
        assert_eq!(serde_json::from_str::<CreateTask>(nulls).unwrap(), CreateTask::new("x"));
        let done = r#"{"success":true,"output":"","artifacts":null,"error_message":""}"#;
        assert!(serde_json::from_str::<CompleteTask>(done).unwrap().artifacts.is_empty());
        let agent = r#"{"id":"a","capabilities":null}"#;
        assert!(serde_json::from_str::<RegisterAgent>(agent).unwrap().capabilities.is_empty());
    }

    #[test]
    fn errors_survive_the_wire() {
        let refusal = Refusal { need: 1u32.into(), ..Refusal::rule("x") };
        for error in [
            Error::not_found(Kind::Agent, "a"),
            Error::Conflict {
                code: ConflictCode::AlreadyClaimed,
                detail: "d".into(),
                holder: Some("a".parse().unwrap()),
            },
            Error::invalid("title", "must not be empty"),
            Error::Refused(Box::new(refusal)),
            Error::conflict(ConflictCode::IdempotencyMismatch, "d"),
        ] {
            let json = serde_json::to_string(&Problem::from(&error)).unwrap();
            let back: Error = serde_json::from_str::<Problem>(&json).unwrap().into();
            assert_eq!(back, error);
        }
    }

    #[test]
    fn inner_causes_stay_inside() {
        let error = Error::backend_from("read", std::io::Error::other("/secret/path"));
        assert!(!serde_json::to_string(&Problem::from(&error)).unwrap().contains("secret"));
    }
}
