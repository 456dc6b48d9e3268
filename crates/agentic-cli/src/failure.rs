//! What went wrong, for the person or the program that called.

use std::{fmt, process::ExitCode};

use serde::Serialize;

/// What kind of failure it is; each has an exit code of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// Something else; 1.
    Failed,
    /// It was not asked for correctly; 2.
    Usage,
    /// There is no such thing; 3.
    NotFound,
    /// The thing is in another state than was believed; 4.
    Conflict,
    /// The server does not answer; 5.
    Unreachable,
    /// A limit has no room; 6.
    Refused,
    /// Whoever read the output went away: nothing is wrong; 0.
    Closed,
}

impl Kind {
    const fn code(self) -> u8 {
        match self {
            Self::Closed => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Conflict => 4,
            Self::Unreachable => 5,
            Self::Refused => 6,
        }
    }
}

/// A failure: what kind, in one sentence, and what to do next. Its JSON is what `--json` prints on standard error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Failure {
    /// What kind.
    pub kind: Kind,
    /// What went wrong.
    pub error: String,
    /// What to do next.
    pub hints: Vec<String>,
}

impl Failure {
    /// A failure of this kind.
    pub(crate) fn new(kind: Kind, error: impl Into<String>) -> Self {
        Self { kind, error: error.into(), hints: Vec::new() }
    }

    /// Something that failed.
    pub(crate) fn failed(error: impl Into<String>) -> Self {
        Self::new(Kind::Failed, error)
    }

    /// Something that was not asked for correctly.
    pub(crate) fn usage(error: impl Into<String>) -> Self {
        Self::new(Kind::Usage, error)
    }

    /// `what` failed because of `source`, told with its own sources.
    pub(crate) fn because(what: impl fmt::Display, source: &dyn std::error::Error) -> Self {
        Self::failed(format!("{what}: {}", chain(source)))
    }

    /// What failed on this machine: nothing there is a server that does not answer.
    pub(crate) fn local(error: agentic_core::error::Error) -> Self {
        let failure = Self::from(error);
        match failure.kind {
            Kind::Unreachable => Self { kind: Kind::Failed, error: failure.error, hints: Vec::new() },
            _ => failure,
        }
    }

    /// And what to do about it.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// What the process ends with.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.kind.code())
    }
}

/// An error and its sources in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    // An error may quote its source, and no chain is endless.
    for _ in 0..16 {
        let Some(next) = source else { break };
        let next_text = next.to_string();
        if !text.ends_with(&next_text) {
            text = format!("{text}: {next_text}");
        }
        source = next.source();
    }
    text
}

/// The codes of a server that does not know the caller, or does not let it.
const DENIED: [&str; 2] = ["unauthorized", "forbidden"];

impl From<agentic_core::error::Error> for Failure {
    fn from(error: agentic_core::error::Error) -> Self {
        use agentic_core::error::Error;
        let kind = match &error {
            Error::NotFound { .. } => Kind::NotFound,
            Error::Conflict { .. } => Kind::Conflict,
            Error::Invalid { field, .. } if DENIED.contains(&field.as_str()) => Kind::Failed,
            Error::Invalid { .. } => Kind::Usage,
            Error::Refused(_) => Kind::Refused,
            Error::Unavailable { .. } => Kind::Unreachable,
            _ => Kind::Failed,
        };
        let failure = Self::new(kind, chain(&error));
        match error {
            // What was told by a server has no source: nothing failed on the way to it.
            Error::Unavailable { source: None, .. } => failure
                .hint("a server answers there, and cannot do it now: GET /readyz and its log say more")
                .hint("the same command may be given again; docs/guide/scaling-out.md lists what an operator can do"),
            Error::Invalid { field, .. } if DENIED.contains(&field.as_str()) => failure.hint(
                "name a token with AGENTIC_TOKEN or --token; `agentic config show` says which one is used",
            ),
            _ => failure,
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::new(Kind::Closed, "the reader went away"),
            _ => Self::failed(format!("cannot write the output: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use agentic_core::{
        error::{ConflictCode, Error},
        limit::Refusal,
    };

    use super::*;

    #[test]
    fn each_error_has_its_kind_and_each_kind_its_code() {
        let refused = Error::Refused(Box::new(Refusal::rule("not on the allowlist")));
        for (error, kind, code) in [
            (Error::backend("reading"), Kind::Failed, 1),
            (Error::invalid("unauthorized", "who are you?"), Kind::Failed, 1),
            (Error::invalid("title", "must not be empty"), Kind::Usage, 2),
            (Error::not_found(agentic_core::error::Kind::Task, "t"), Kind::NotFound, 3),
            (Error::conflict(ConflictCode::IllegalTransition, "it is over"), Kind::Conflict, 4),
            (Error::unavailable("the server"), Kind::Unreachable, 5),
            (refused, Kind::Refused, 6),
        ] {
            let failure = Failure::from(error);
            assert_eq!((failure.kind, failure.kind.code()), (kind, code), "{failure:?}");
        }
        assert_eq!(Failure::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe)).kind.code(), 0);
    }

    #[test]
    fn what_is_away_on_this_machine_is_no_server() {
        assert_eq!(Failure::local(Error::unavailable("the store")).kind, Kind::Failed);
        assert_eq!(Failure::local(Error::invalid("store", "x")).kind, Kind::Usage);
    }

    #[test]
    fn sources_are_told_once() {
        let error = Error::unavailable_from("the server", std::io::Error::other("connection refused"));
        assert_eq!(Failure::from(error).error, "the server is unavailable: connection refused");
    }
}
