//! What SQLite's errors mean to a caller.

use agentic_core::error::Error;
use rusqlite::ErrorCode;

/// The one mapping: what passes by itself or with room on the disk is `Unavailable`, the rest is `Backend`.
pub(crate) fn storage(error: rusqlite::Error) -> Error {
    about("the database", error)
}

/// As [`storage`], of something that has a name.
pub(crate) fn about(what: impl Into<String>, error: rusqlite::Error) -> Error {
    match error.sqlite_error_code() {
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::DiskFull
            | ErrorCode::SystemIoFailure
            | ErrorCode::CannotOpen
            | ErrorCode::OutOfMemory
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::OperationInterrupted,
        ) => Error::unavailable_from(what, error),
        _ => Error::backend_from(what, error),
    }
}

/// A stored value that is none of ours.
pub(crate) fn unreadable(source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::backend_from("reading a stored row", source)
}

/// Whether an error says that the storage failed, rather than that the caller was refused.
pub(crate) const fn is_storage(error: &Error) -> bool {
    matches!(error, Error::Unavailable { .. } | Error::Backend { .. })
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    #[test]
    fn what_passes_is_retryable_and_what_is_broken_is_not() {
        let mapped = |code| storage(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
        for code in [
            ffi::SQLITE_BUSY,
            ffi::SQLITE_BUSY_SNAPSHOT,
            ffi::SQLITE_LOCKED,
            ffi::SQLITE_FULL,
            ffi::SQLITE_IOERR,
            ffi::SQLITE_IOERR_WRITE,
            ffi::SQLITE_CANTOPEN,
        ] {
            assert!(mapped(code).is_retryable(), "{code}");
        }
        for code in
            [ffi::SQLITE_CORRUPT, ffi::SQLITE_NOTADB, ffi::SQLITE_CONSTRAINT_TRIGGER, ffi::SQLITE_ERROR]
        {
            assert_eq!(mapped(code).code(), "backend", "{code}");
        }
    }
}
