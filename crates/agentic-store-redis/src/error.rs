//! What Redis's errors mean to a caller.

use agentic_core::error::Error;
use fred::error::ErrorKind;

/// What a server says that it cannot do now and may do later.
const PASSING: [&str; 14] = [
    "READONLY",
    "LOADING",
    "OOM",
    "MISCONF",
    "BUSY",
    "CLUSTERDOWN",
    "MOVED",
    "ASK",
    "TRYAGAIN",
    "MASTERDOWN",
    "NOREPLICAS",
    "NOSCRIPT",
    "UNKILLABLE",
    "ERR max number of clients",
];

/// The one mapping: what passes by itself, or when an operator has seen to the server, is `Unavailable`; the rest is
/// `Backend`. Either may have been done all the same when the connection was lost on the way back.
pub(crate) fn storage(error: fred::error::Error) -> Error {
    about("redis", error)
}

/// As [`storage`], of something that has a name.
pub(crate) fn about(what: impl Into<String>, error: fred::error::Error) -> Error {
    let passes = match error.kind() {
        ErrorKind::IO
        | ErrorKind::Timeout
        | ErrorKind::Canceled
        | ErrorKind::Routing
        | ErrorKind::Cluster
        | ErrorKind::Sentinel
        | ErrorKind::Backpressure => true,
        _ => PASSING.iter().any(|word| error.details().starts_with(word)),
    };
    if passes { Error::unavailable_from(what, error) } else { Error::backend_from(what, error) }
}

/// A stored value that is none of ours.
pub(crate) fn unreadable(source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::backend_from("reading a stored row", source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_retryable_and_what_is_broken_is_not() {
        let said = |details: &'static str| storage(fred::error::Error::new(ErrorKind::Unknown, details));
        for details in [
            "READONLY You can't write against a read only replica.",
            "LOADING Redis is loading the dataset in memory",
            "OOM command not allowed when used memory > 'maxmemory'.",
            "MISCONF Redis is configured to save RDB snapshots",
            "BUSY Redis is busy running a script.",
            "CLUSTERDOWN The cluster is down",
            "NOREPLICAS Not enough good replicas to write.",
        ] {
            assert!(said(details).is_retryable(), "{details}");
        }
        for details in ["WRONGTYPE Operation against a key", "ERR user_script:1: attempt to index", "NOAUTH"]
        {
            assert_eq!(said(details).code(), "backend", "{details}");
        }
        for kind in [ErrorKind::IO, ErrorKind::Timeout, ErrorKind::Canceled, ErrorKind::Routing] {
            assert!(storage(fred::error::Error::new(kind, "gone")).is_retryable());
        }
    }
}
