//! What cases expect of a refusal.
#![expect(clippy::missing_panics_doc, reason = "a case fails by panicking")]

use std::fmt::Debug;

use agentic_core::{
    error::{ConflictCode, Error, Kind, Result},
    id::AgentId,
    limit::Refusal,
    port::Finished,
    task::Task,
};

/// Takes a conflict with this code; answers with the holder that it names.
#[track_caller]
pub fn conflict<T: Debug>(result: Result<T>, wanted: ConflictCode) -> Option<AgentId> {
    match result {
        Err(Error::Conflict { code, holder, .. }) if code == wanted => holder,
        other => panic!("expected the conflict {}, got {other:?}", wanted.as_str()),
    }
}

/// Takes a refusal by a limit.
#[track_caller]
pub fn refused<T: Debug>(result: Result<T>) -> Refusal {
    match result {
        Err(Error::Refused(refusal)) => *refusal,
        other => panic!("expected a refusal by a limit, got {other:?}"),
    }
}

/// Takes a refusal of a request that breaks a rule of this field.
#[track_caller]
pub fn invalid<T: Debug>(result: Result<T>, wanted: &str) {
    match result {
        Err(Error::Invalid { field, .. }) if field == wanted => {}
        other => panic!("expected {wanted} to be refused as invalid, got {other:?}"),
    }
}

/// Takes the answer that there is no such thing.
#[track_caller]
pub fn not_found<T: Debug>(result: Result<T>, wanted: Kind, wanted_id: &str) {
    match result {
        Err(Error::NotFound { kind, id }) if kind == wanted && id == wanted_id => {}
        other => panic!("expected that {wanted} {wanted_id:?} does not exist, got {other:?}"),
    }
}

/// Takes the task of an ending that was accepted.
#[track_caller]
pub fn accepted(result: Result<Finished>) -> Task {
    match result {
        Ok(Finished::Accepted(task)) => *task,
        other => panic!("expected the ending to be accepted, got {other:?}"),
    }
}

/// Takes an ending that the fence kept for review; answers with the holder that it names.
#[track_caller]
pub fn late(result: Result<Finished>, wanted: ConflictCode) -> Option<AgentId> {
    match result {
        Ok(Finished::Late { code, holder, .. }) if code == wanted => holder,
        other => panic!("expected a late result with {}, got {other:?}", wanted.as_str()),
    }
}
