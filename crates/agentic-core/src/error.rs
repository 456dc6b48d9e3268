//! What can go wrong, named by what the caller can do about it.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{id::AgentId, limit::Refusal};

/// The result of every port.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a port or a service answers when it does not do what was asked.
///
/// A message never contains its source, and reads after "failed to".
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such thing.
    #[error("{kind} {id:?} does not exist")]
    NotFound {
        /// What was looked for.
        kind: Kind,
        /// Its id.
        id: String,
    },
    /// The thing is in another state than the caller believed; read it again and decide anew.
    #[error("{detail}")]
    Conflict {
        /// Which conflict.
        code: ConflictCode,
        /// One sentence.
        detail: String,
        /// Who holds the task, where that is why.
        holder: Option<AgentId>,
    },
    /// The request breaks a rule, and will whenever it is repeated.
    #[error("{field}: {detail}")]
    Invalid {
        /// The field that breaks it.
        field: String,
        /// The rule, and what to do.
        detail: String,
    },
    /// A limit has no room.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// The back end cannot answer now; the same call may succeed later. It may also have been done.
    #[error("{what} is unavailable")]
    Unavailable {
        /// What is away.
        what: String,
        /// Why.
        source: Option<Cause>,
    },
    /// This back end cannot do that.
    #[error("{what} is not supported by this back end")]
    Unsupported {
        /// What was asked.
        what: String,
    },
    /// The back end failed; repeating the call will not help.
    #[error("{what} failed")]
    Backend {
        /// What failed.
        what: String,
        /// Why.
        source: Option<Cause>,
    },
}

/// A shared source of an [`Error`].
#[derive(Debug, Clone)]
pub struct Cause(Arc<dyn std::error::Error + Send + Sync>);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl std::error::Error for Cause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

/// The kinds of things that have an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// A task.
    Task,
    /// An agent.
    Agent,
    /// An agent's allowance.
    Allowance,
    /// A model's quota.
    Model,
    /// A budget.
    Budget,
    /// A job.
    Job,
    /// A route of the server.
    Route,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Task => "task",
            Self::Agent => "agent",
            Self::Allowance => "allowance of agent",
            Self::Model => "quota of model",
            Self::Budget => "budget of",
            Self::Job => "job",
            Self::Route => "route",
        })
    }
}

/// Which conflict; stable, for programs to match on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ConflictCode {
    /// Another agent holds the task.
    AlreadyClaimed,
    /// The task is not waiting to be claimed.
    NotClaimable,
    /// The task's `not_before` or `retry_at` has not come.
    NotReady,
    /// The attempt that was named is not the task's current one.
    StaleAttempt,
    /// The attempt was ended before, by another answer.
    AlreadyEnded,
    /// The lease ran out, and its places were given away.
    LeaseLost,
    /// The lease has not run out.
    LeaseLive,
    /// The caller does not hold the task.
    NotHolder,
    /// The task's status does not allow that.
    IllegalTransition,
    /// The agent was started anew since.
    StaleIncarnation,
    /// The id is taken.
    Exists,
    /// The idempotency key came with another request before.
    IdempotencyMismatch,
    /// The job has a live admission.
    AlreadyAdmitted,
    /// Something woke the lane since it was read.
    NewerWake,
    /// The agent is draining or offline.
    AgentUnavailable,
    /// The event cursor is older than the log.
    CursorTrimmed,
    /// The setting that an append moves is not what the caller believed.
    MarkMoved,
    /// The budget was changed since it was read.
    StaleVersion,
}

impl ConflictCode {
    /// The code as it stands in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AlreadyClaimed => "already_claimed",
            Self::NotClaimable => "not_claimable",
            Self::NotReady => "not_ready",
            Self::StaleAttempt => "stale_attempt",
            Self::AlreadyEnded => "already_ended",
            Self::LeaseLost => "lease_lost",
            Self::LeaseLive => "lease_live",
            Self::NotHolder => "not_holder",
            Self::IllegalTransition => "illegal_transition",
            Self::StaleIncarnation => "stale_incarnation",
            Self::Exists => "exists",
            Self::IdempotencyMismatch => "idempotency_mismatch",
            Self::AlreadyAdmitted => "already_admitted",
            Self::NewerWake => "newer_wake",
            Self::AgentUnavailable => "agent_unavailable",
            Self::CursorTrimmed => "cursor_trimmed",
            Self::MarkMoved => "mark_moved",
            Self::StaleVersion => "stale_version",
        }
    }
}

impl Error {
    /// There is no `kind` with this id.
    pub fn not_found(kind: Kind, id: impl fmt::Display) -> Self {
        Self::NotFound { kind, id: id.to_string() }
    }

    /// A conflict without a holder.
    pub fn conflict(code: ConflictCode, detail: impl Into<String>) -> Self {
        Self::Conflict { code, detail: detail.into(), holder: None }
    }

    /// `field` breaks a rule.
    pub fn invalid(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), detail: detail.into() }
    }

    /// `what` is away, without a cause to name.
    pub fn unavailable(what: impl Into<String>) -> Self {
        Self::Unavailable { what: what.into(), source: None }
    }

    /// `what` is away because of `source`.
    pub fn unavailable_from(
        what: impl Into<String>,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self::Unavailable { what: what.into(), source: Some(Cause(Arc::new(source))) }
    }

    /// `what` failed, without a cause to name.
    pub fn backend(what: impl Into<String>) -> Self {
        Self::Backend { what: what.into(), source: None }
    }

    /// `what` failed because of `source`.
    pub fn backend_from(
        what: impl Into<String>,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self::Backend { what: what.into(), source: Some(Cause(Arc::new(source))) }
    }

    /// The stable code, for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "not_found",
            Self::Conflict { code, .. } => code.as_str(),
            Self::Invalid { .. } => "invalid",
            Self::Refused(_) => "refused_by_limit",
            Self::Unavailable { .. } => "unavailable",
            Self::Unsupported { .. } => "unsupported",
            Self::Backend { .. } => "backend",
        }
    }

    /// Whether the same call may succeed later without anything else changing.
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// Whether this is a conflict with this code.
    pub fn is_conflict(&self, wanted: ConflictCode) -> bool {
        matches!(self, Self::Conflict { code, .. } if *code == wanted)
    }

    /// When a refusal is worth another try, where that can be computed.
    pub fn retry_at(&self) -> Option<crate::clock::Timestamp> {
        match self {
            Self::Refused(refusal) => refusal.retry_at,
            _ => None,
        }
    }
}

/// Two errors are equal when a caller would do the same about them; their sources are not compared.
impl PartialEq for Error {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::NotFound { kind, id }, Self::NotFound { kind: k, id: i }) => kind == k && id == i,
            (Self::Conflict { code, detail, holder }, Self::Conflict { code: c, detail: d, holder: h }) => {
                code == c && detail == d && holder == h
            }
            (Self::Invalid { field, detail }, Self::Invalid { field: f, detail: d }) => {
                field == f && detail == d
            }
            (Self::Refused(a), Self::Refused(b)) => a == b,
            (Self::Unavailable { what, .. }, Self::Unavailable { what: w, .. })
            | (Self::Unsupported { what }, Self::Unsupported { what: w })
            | (Self::Backend { what, .. }, Self::Backend { what: w, .. }) => what == w,
            _ => false,
        }
    }
}
