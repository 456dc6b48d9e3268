//! The scripts: each file with the pieces of `scripts/lib` that it needs in front.

use std::sync::LazyLock;

use fred::types::scripts::Script;

macro_rules! pieces {
    ($($piece:ident),*) => { concat!($(include_str!(concat!("../scripts/lib/", stringify!($piece), ".lua")), "\n"),*) };
}

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident: $file:literal [$($piece:ident),*];)*) => {
        $(
            $(#[$doc])*
            pub(crate) static $name: LazyLock<Script> = LazyLock::new(|| {
                Script::from_lua(concat!(
                    pieces!(base $(, $piece)*),
                    include_str!(concat!("../scripts/", $file, ".lua"))
                ))
            });
        )*
    };
}

scripts! {
    CREATE_MANY: "create_many" [events, tasks, machine];
    GET: "get" [tasks];
    LIST: "list" [tasks];
    COUNTS: "counts" [];
    ASSIGNED: "assigned" [tasks];
    LANES: "lanes" [];
    READY: "ready" [];
    PROMOTE_DUE: "promote_due" [events, tasks, machine];
    DRAIN: "drain" [events, tasks, machine];
    PARK: "park" [events, lanes];
    UNPARK: "unpark" [lanes];
    CLAIM: "claim" [events, tasks, machine, assign];
    START_ATTEMPT: "start_attempt" [events, tasks, machine, assign];
    RENEW: "renew" [events, tasks, machine];
    PROGRESS: "progress" [events, tasks, machine];
    END_ATTEMPT: "end_attempt" [events, tasks, machine, assign];
    EDIT: "edit" [events, tasks, machine, lanes];
    DEFER: "defer" [events, tasks, machine];
    BLOCK: "block" [events, tasks, machine];
    CANCEL: "cancel" [events, tasks, machine];
    REQUEUE: "requeue" [events, tasks, machine];
    EXPIRED_ATTEMPTS: "expired_attempts" [tasks];
    HISTORY: "history" [];
    PRUNE: "prune" [tasks];
    REGISTER: "register" [events, agents];
    DEREGISTER: "deregister" [events, agents];
    HEARTBEAT: "heartbeat" [events, agents];
    SET_DRAINING: "set_draining" [agents];
    REAP: "reap" [events, agents];
    AGENTS: "agents" [];
    SET_LIMIT: "set_limit" [events];
    READINGS: "readings" [events, ledger];
    ACTIVE_JOBS: "active_jobs" [events, ledger];
    ADMIT: "admit" [events, ledger];
    START_JOB: "start_job" [events, ledger];
    EXTEND: "extend" [events, ledger];
    REPORT: "report" [events, ledger];
    SETTLE: "settle" [events, ledger];
    VOID: "void" [events, ledger];
    EXPIRED_JOBS: "expired_jobs" [events, ledger];
    RESET_USAGE: "reset_usage" [events, ledger];
    ENTRIES: "entries" [];
    VERIFY: "verify" [];
    APPEND: "append" [events];
    AFTER: "after" [];
    TRIM: "trim" [];
    FOLD: "fold" [events, ledger];
    PUT_SETTING: "put_setting" [];
    ASSIGN: "assign" [events, tasks, machine, ledger, agents, assign];
    START: "start" [events, tasks, machine, ledger, assign];
    BEAT: "beat" [events, tasks, machine, ledger, assign];
    FINISH: "finish" [events, tasks, machine, ledger, assign];
}
