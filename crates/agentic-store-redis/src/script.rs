//! The scripts: each file with the pieces of `scripts/lib` that it needs in front.

use std::{collections::HashSet, sync::LazyLock};

use fred::types::scripts::Script;

/// The shared pieces, each after those that it uses.
const PIECES: &str = concat!(
    include_str!("../scripts/lib/base.lua"),
    include_str!("../scripts/lib/events.lua"),
    include_str!("../scripts/lib/lanes.lua"),
    include_str!("../scripts/lib/tasks.lua"),
    include_str!("../scripts/lib/machine.lua"),
    include_str!("../scripts/lib/ledger.lua"),
    include_str!("../scripts/lib/agents.lua"),
    include_str!("../scripts/lib/assign.lua"),
);

/// How many pieces stand in one function; the next stand in a function inside of it. Lua finds what a function uses of
/// the one around it by a walk over all that is used of that one so far, so that few are cheap.
const LAYER: usize = 16;

/// A script with the pieces in front that it needs and no other: making a function costs each call something.
fn whole(body: &str) -> String {
    let script = format!("return run(function()\n{body}end)\n");
    let mut needed: HashSet<&str> = words(&script).collect();
    let mut kept = Vec::new();
    for piece in pieces().into_iter().rev() {
        if names(piece).any(|name| needed.contains(name)) {
            needed.extend(words(piece));
            kept.push(piece);
        }
    }
    kept.reverse();
    let layers: Vec<String> = kept.chunks(LAYER).map(<[&str]>::concat).collect();
    layers.join("return (function()\n") + &script + &"end)()\n".repeat(layers.len().saturating_sub(1))
}

/// The pieces one by one: each begins with `local` at the margin, and ends where the next begins.
fn pieces() -> Vec<&'static str> {
    let starts = PIECES.match_indices("\nlocal ").map(|(before, _)| before + 1);
    let ends = starts.clone().skip(1).chain([PIECES.len()]);
    starts.zip(ends).filter_map(|(start, end)| PIECES.get(start..end)).collect()
}

/// What a piece names.
fn names(piece: &str) -> impl Iterator<Item = &str> {
    let declared = piece.lines().next().unwrap_or_default().trim_start_matches("local ");
    let list = match declared.strip_prefix("function ") {
        Some(function) => function.split('(').next(),
        None => declared.split('=').next(),
    };
    list.unwrap_or_default().split(',').map(str::trim)
}

/// The words of a text that may name a piece: not those of comments and of quoted texts.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("--"));
    let unquoted = code.flat_map(|line| line.split('\'').step_by(2));
    unquoted.flat_map(|code| code.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'))
}

macro_rules! scripts {
    ($($name:ident: $file:literal;)*) => {
        $(
            pub(crate) static $name: LazyLock<Script> =
                LazyLock::new(|| Script::from_lua(whole(include_str!(concat!("../scripts/", $file, ".lua")))));
        )*

        /// Every script and its file.
        #[cfg(test)]
        const ALL: &[(&str, &LazyLock<Script>)] = &[$(($file, &$name)),*];

        /// The text of every file but the shared ones.
        #[cfg(test)]
        const BODIES: &[(&str, &str)] = &[$(($file, include_str!(concat!("../scripts/", $file, ".lua")))),*];
    };
}

scripts! {
    CREATE_MANY: "create_many";
    GET: "get";
    LIST: "list";
    COUNTS: "counts";
    ASSIGNED: "assigned";
    LANES: "lanes";
    READY: "ready";
    PROMOTE_DUE: "promote_due";
    DRAIN: "drain";
    PARK: "park";
    UNPARK: "unpark";
    CLAIM: "claim";
    START_ATTEMPT: "start_attempt";
    RENEW: "renew";
    PROGRESS: "progress";
    END_ATTEMPT: "end_attempt";
    EDIT: "edit";
    DEFER: "defer";
    BLOCK: "block";
    CANCEL: "cancel";
    REQUEUE: "requeue";
    EXPIRED_ATTEMPTS: "expired_attempts";
    HISTORY: "history";
    PRUNE: "prune";
    REGISTER: "register";
    DEREGISTER: "deregister";
    HEARTBEAT: "heartbeat";
    SET_DRAINING: "set_draining";
    REAP: "reap";
    AGENTS: "agents";
    SET_LIMIT: "set_limit";
    SET_BUDGET: "set_budget";
    READINGS: "readings";
    ACTIVE_JOBS: "active_jobs";
    ADMIT: "admit";
    START_JOB: "start_job";
    EXTEND: "extend";
    REPLAN: "replan";
    REPORT: "report";
    SETTLE: "settle";
    VOID: "void";
    EXPIRED_JOBS: "expired_jobs";
    RESET_USAGE: "reset_usage";
    ENTRIES: "entries";
    VERIFY: "verify";
    APPEND: "append";
    AFTER: "after";
    TRIM: "trim";
    FOLD: "fold";
    FORGET_JOBS: "forget_jobs";
    PUT_SETTING: "put_setting";
    TIME: "time";
    ASSIGN: "assign";
    START: "start";
    BEAT: "beat";
    FINISH: "finish";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_has_what_it_needs_and_nothing_else() {
        let counts = whole(include_str!("../scripts/counts.lua"));
        assert!(counts.contains("local function n(") && counts.contains("local P ="), "{counts}");
        assert!(!counts.contains("local function take("), "{counts}");
        let assign = whole(include_str!("../scripts/assign.lua"));
        for (name, wanted) in
            [("write_log", true), ("step_claim", true), ("step_end", false), ("drain", false)]
        {
            assert_eq!(assign.contains(&format!("local function {name}(")), wanted, "{name}");
        }
    }

    #[test]
    fn every_piece_is_used() {
        for piece in pieces() {
            let used =
                |(_, script): &(&str, &LazyLock<Script>)| script.lua().is_some_and(|lua| lua.contains(piece));
            assert!(ALL.iter().any(used), "nothing uses\n{piece}");
        }
    }

    #[test]
    fn every_script_says_what_it_does_and_what_bounds_it() {
        for (file, body) in BODIES {
            let top: Vec<&str> = body.lines().take_while(|line| line.starts_with("-- ")).collect();
            for word in ["-- ARGV: now", "-- Bound: "] {
                assert_eq!(top.iter().filter(|line| line.starts_with(word)).count(), 1, "{file}: {word}");
            }
        }
    }

    /// What reads or unpacks all that there is, and why that is bounded here.
    #[test]
    fn nothing_reads_all_of_what_grows() {
        const UNBOUNDED: [&str; 13] = [
            "'KEYS'",
            "'SCAN'",
            "'SMEMBERS'",
            "'SUNION'",
            "'HGETALL'",
            "'HKEYS'",
            "'HVALS'",
            "'SORT'",
            "'FLUSH",
            ", 0, -1)",
            "unpack(",
            "while true",
            "'ZRANGEBYSCORE'",
        ];
        const BOUNDED: [(&str, &str, &str); 9] = [
            ("lib", "redis.call('HGETALL', key)", "one row"),
            (
                "lib",
                "redis.call(command, key, unpack(list, from, math.min(from + 99, #list)))",
                "100 at a time",
            ),
            ("lib", "unpack(HOT)", "the fields of a task"),
            (
                "lib",
                "redis.call('ZRANGE', P .. 'dependents:' .. id, 0, -1)",
                "1,000 by the contract of `create_many`",
            ),
            ("lib", "redis.call('HMGET', P .. 'held', unpack(asked, from, to))", "100 at a time"),
            ("lib", "redis.call('HMGET', P .. 'meters', unpack(asked, from, to))", "50 at a time"),
            ("lib", "redis.call('HMGET', P .. 'sums', unpack(names))", "the limits of a job: 32 a scope"),
            ("lib", "redis.call('HMGET', P .. 'meters', unpack(fields))", "a window has 61 buckets"),
            ("lib", "cjson.encode({ unpack(limit) })", "the eight parts of a limit"),
        ];
        let mut used = HashSet::new();
        for (file, text) in [("lib", PIECES)].iter().chain(BODIES) {
            for line in text.lines().filter(|line| !line.trim_start().starts_with("--")) {
                let Some(word) = UNBOUNDED.iter().find(|word| line.contains(**word)) else { continue };
                let limited = *word == "'ZRANGEBYSCORE'" && line.contains("'LIMIT', 0, ");
                let known = BOUNDED.iter().position(|(at, what, _)| file == at && line.contains(what));
                assert!(limited || known.is_some(), "{file}: {line}\nWhat bounds this?");
                used.extend(known);
            }
        }
        assert_eq!(used.len(), BOUNDED.len(), "what is not there any more needs no reason");
    }
}
