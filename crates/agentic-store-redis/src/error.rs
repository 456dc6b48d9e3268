//! What Redis's errors mean to a caller.

use agentic_core::error::Error;
use fred::error::ErrorKind;

/// What a server says that it cannot do now and may do later, and what an operator is told of it.
const PASSING: [(&str, &str); 16] = [
    ("READONLY", "is a replica now"),
    ("LOADING", "still loads its data"),
    ("OOM", "is out of memory"),
    ("MISCONF", "cannot write to its disk"),
    ("BUSY", "is busy with a script"),
    ("CLUSTERDOWN", "belongs to a cluster that is down"),
    // What fred says when it connects to such a one.
    ("Invalid or missing cluster state", "belongs to a cluster that is down"),
    ("MOVED", "gave its slot to another node"),
    ("ASK", "gives its slot to another node"),
    // What fred makes of the two above, as none is followed.
    ("Too many redirections", "gives its slot to another node"),
    ("TRYAGAIN", "gives its slot to another node"),
    ("MASTERDOWN", "is a replica without its primary"),
    ("NOREPLICAS", "has too few replicas"),
    ("NOSCRIPT", "forgot a script twice"),
    ("UNKILLABLE", "is busy with a script that wrote"),
    ("ERR max number of clients", "has no connection to spare"),
];

/// The one mapping: what passes by itself, or when an operator has seen to the server, is `Unavailable`; the rest is
/// `Backend`. Either may have been done all the same when the connection was lost on the way back.
pub(crate) fn storage(error: fred::error::Error) -> Error {
    about("redis", error)
}

/// As [`storage`], of something that has a name.
pub(crate) fn about(what: impl Into<String>, error: fred::error::Error) -> Error {
    let details = in_script(error.details());
    let said = PASSING.iter().find(|(word, _)| details.starts_with(word));
    if let Some((word, meaning)) = said {
        return Error::unavailable_from(format!("{}, which {meaning} ({word}),", what.into()), error);
    }
    let passes = matches!(
        error.kind(),
        ErrorKind::IO
            | ErrorKind::Timeout
            | ErrorKind::Canceled
            | ErrorKind::Routing
            | ErrorKind::Cluster
            | ErrorKind::Sentinel
            | ErrorKind::Backpressure
    ) || *error.kind() == ErrorKind::Unknown && !is_reply(error.details());
    if passes { Error::unavailable_from(what, error) } else { Error::backend_from(what, error) }
}

/// What a command in a script said: Redis 6.2 says it behind where it happened, as in `ERR Error running script (call to
/// f_…): @user_script:41: @user_script: 41: -OOM command not allowed …`; 7.0 says it as it is.
fn in_script(details: &str) -> &str {
    match details.strip_prefix("ERR Error running script").and_then(|rest| rest.split_once(": -")) {
        Some((_, said)) => said,
        None => details,
    }
}

/// Whether a server said this: its errors begin with a word in capitals. What fred says of itself, under the same kind,
/// is of a connection that broke under a command.
pub(crate) fn is_reply(details: &str) -> bool {
    details.split(' ').next().is_some_and(|word| word.chars().all(|c| c.is_ascii_uppercase()))
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
            "Invalid or missing cluster state.",
            "MOVED 3999 127.0.0.1:6381",
            "ASK 3999 127.0.0.1:6381",
            "TRYAGAIN Multiple keys request during rehashing of slot",
            "MASTERDOWN Link with MASTER is down",
            "NOREPLICAS Not enough good replicas to write.",
            "NOSCRIPT No matching script.",
            "UNKILLABLE Sorry the script already executed write commands",
            "ERR max number of clients reached",
        ] {
            let (_, meaning) = PASSING.iter().find(|(word, _)| details.starts_with(word)).expect(details);
            // Whatever the driver makes of it.
            for kind in
                [ErrorKind::Unknown, ErrorKind::Cluster, ErrorKind::Protocol, ErrorKind::InvalidCommand]
            {
                let told = storage(fred::error::Error::new(kind, details));
                assert!(told.is_retryable() && told.to_string().contains(meaning), "{details}: {told}");
            }
        }
        for details in ["Too many failed write attempts.", "Failed to route command.", "channel closed"] {
            assert!(said(details).is_retryable(), "{details}");
        }
        let place = "ERR Error running script (call to f_6f1b): @user_script:41: @user_script: 41: ";
        for (rest, code) in [
            ("-OOM command not allowed when used memory > 'maxmemory'.", "unavailable"),
            ("-READONLY You can't write against a read only replica.", "unavailable"),
            ("-MISCONF Redis is configured to save RDB snapshots", "unavailable"),
            ("-NOREPLICAS Not enough good replicas to write.", "unavailable"),
            ("-WRONGTYPE Operation against a key", "backend"),
            ("attempt to index a nil value", "backend"),
        ] {
            let text = format!("{place}{rest}");
            assert_eq!(storage(fred::error::Error::new(ErrorKind::Unknown, text)).code(), code, "{rest}");
        }
        let full = said("OOM command not allowed when used memory > 'maxmemory'.").to_string();
        assert_eq!(full, "redis, which is out of memory (OOM), is unavailable");
        for details in ["WRONGTYPE Operation against a key", "ERR user_script:1: attempt to index", "NOAUTH"]
        {
            assert_eq!(said(details).code(), "backend", "{details}");
        }
        for kind in [ErrorKind::IO, ErrorKind::Timeout, ErrorKind::Canceled, ErrorKind::Routing] {
            assert!(storage(fred::error::Error::new(kind, "gone")).is_retryable());
        }
    }
}
