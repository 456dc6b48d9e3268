//! What SQLite says of its plans: every statement finds its rows through an index.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use agentic_core::{
    clock::Timestamp,
    port::CreateMany,
    task::{NewTask, Page, Priority, TaskCursor, TaskFilter, TaskStatus},
};
use rusqlite::{Connection, StatementStatus};

use crate::{
    allowances, events, lanes,
    options::SqliteOptions,
    rows::{SqliteRows, agent, attempt, fold, held, job, limits, log, meter, park, task, transaction},
    schema, settings,
    sql::{Counter, Sql},
    tasks,
};

fn open() -> (Connection, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let conn = schema::open_writer(&dir.path().join("agentic.db"), &SqliteOptions::new()).unwrap();
    (conn, dir)
}

/// The lines of a statement's plan.
fn plan(conn: &Connection, sql: &str) -> Vec<String> {
    let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let lines = statement.raw_query().mapped(|row| row.get::<_, String>("detail"));
    lines.map(Result::unwrap).collect()
}

/// What is no search through an index, and why that is right.
const WALKS: &[(&str, &str, &str)] = &[
    ("active jobs", "SCAN a VIRTUAL TABLE INDEX 1:", "the agents that were asked for"),
    ("active jobs", "USE TEMP B-TREE FOR ORDER BY", "the agents that were asked for"),
    ("agents", "SCAN agents", "all are wanted, in the order of the key"),
    ("allowances", "SCAN allowances", "all are wanted, in the order of the key"),
    ("quotas", "SCAN quotas", "all are wanted, in the order of the key"),
    ("budgets", "SCAN budgets", "all are wanted, in the order of the key"),
    ("silent agents", "USE TEMP B-TREE FOR ORDER BY", "those that are silent"),
    ("last event", "SCAN sqlite_sequence", "one row"),
    ("oldest events", "SCAN events", "in the order of the key, under a limit"),
    ("held by all", "SCAN jobs USING COVERING INDEX jobs_expiry", "open jobs only"),
    ("parked lanes", "SCAN parks", "in the order of the key, under a limit"),
    ("deferred tasks", "SCAN x USING INDEX task_texts_deferred", "in the order of the index, under a limit"),
    ("lanes", "SCAN tasks USING COVERING INDEX tasks_lane", "its first row"),
    ("lanes", "SCAN lanes", "the ready lanes"),
    ("lanes", "USE TEMP B-TREE FOR ORDER BY", "the ready lanes"),
    ("last place", "SEARCH tasks", "the last row"),
    ("next due", "SCAN tasks USING COVERING INDEX tasks_due", "its first row"),
    ("oldest entries", "SCAN entries", "in the order of the key, under a limit"),
    ("opening balance", "SCAN opening", "verification reads everything"),
    ("all moves", "SCAN entries", "verification reads everything"),
    ("all meters", "SCAN meters", "verification reads everything"),
    ("counts", "SCAN tasks USING COVERING INDEX tasks_status", "all are counted, by their index alone"),
    ("prunable tasks", "USE TEMP B-TREE FOR ORDER BY", "three times the limit at most"),
    ("page", "SCAN t USING INDEX tasks_age", "in the order of the index, under a limit"),
];

#[test]
fn every_statement_has_its_index() {
    let (conn, _dir) = open();
    let mut used = BTreeSet::new();
    for (name, sql) in statements() {
        for line in plan(&conn, &sql) {
            let walk = WALKS.iter().position(|(who, what, _)| name.starts_with(who) && line == *what);
            assert!(walk.is_some() || is_search(&line), "{name}: {line}\n{sql}");
            used.extend(walk);
        }
    }
    assert_eq!(used.len(), WALKS.len(), "an exception that nothing needs");
}

/// A search through an index, or what has no rows of a table to visit.
fn is_search(line: &str) -> bool {
    let index = ["USING INDEX", "USING COVERING INDEX", "USING PRIMARY KEY", "USING INTEGER PRIMARY KEY"];
    let inner =
        ["SCAN k", "SCAN CONSTANT ROW", "SCAN 64 CONSTANT ROWS", "SCAN json_each ", "SCAN (subquery-"];
    match line.split_once(' ') {
        Some(("SEARCH", rest)) => index.iter().any(|index| rest.contains(index)),
        Some(("SCAN", _)) => inner.iter().any(|inner| line.starts_with(inner)),
        _ => !line.contains("TEMP B-TREE"),
    }
}

/// The list below is complete: a statement that is not in it would not be held to its plan.
#[test]
fn every_statement_is_held_to_its_plan() {
    fn visit(dir: &Path, sources: &mut Vec<String>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                visit(&path, sources);
            } else {
                sources.push(fs::read_to_string(path).unwrap());
            }
        }
    }
    let mut sources = Vec::new();
    visit(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut sources);
    let name = |line: &str| {
        let rest = line.strip_prefix("pub(crate) const ").or(line.strip_prefix("pub(crate) static "))?;
        let (name, kind) = rest.split_once(": ")?;
        (kind.starts_with("&str") || kind.starts_with("Lookup")).then(|| name.to_owned())
    };
    let names: Vec<String> = sources.iter().flat_map(|source| source.lines()).filter_map(name).collect();
    assert!(names.len() > 40, "{names:?}");
    let here = include_str!("plans.rs");
    for name in names {
        assert!(here.contains(&format!("::{name}")), "{name} is not in the list of statements");
    }
}

/// A tick and a page cost the same whatever waits behind what they show.
#[test]
fn reading_the_front_costs_nothing_behind_it() {
    let steps = |tasks: u32| {
        let (conn, _dir) = open();
        fill(&conn, tasks);
        let (page, _) = tasks::page_of(&TaskFilter::default(), &Page::first(10));
        let run = |sql: &str, params: &[&dyn rusqlite::ToSql]| {
            let mut statement = conn.prepare(sql).unwrap();
            let rows = statement.query(params).unwrap().mapped(|_| Ok(())).count();
            assert!(rows > 0, "{sql}");
            statement.get_status(StatementStatus::VmStep)
        };
        [
            run(lanes::LANES, &[&10]),
            run(lanes::READY, &[&"||", &10]),
            run(tasks::NEXT_DUE, &[]),
            run(task::DUE, &[&i64::MAX, &10]),
            run(&page, &[&10]),
        ]
    };
    assert_eq!(steps(100), steps(3_000));
}

/// So many tasks in one lane, and as many that wait for their time.
fn fill(conn: &Connection, tasks: u32) {
    let counter = Counter::default();
    let sql = Sql::new(conn, &counter);
    for start in (0..tasks).step_by(100) {
        let (mut rows, now) = (SqliteRows::new(sql), Timestamp::EPOCH);
        let new = |number: u32| NewTask::new(format!("t{number:06}").parse().unwrap(), "x");
        let ready = (start..start + 100).map(new);
        let later = (start..start + 100).map(|number| NewTask {
            not_before: Some(now.plus(Duration::from_hours(1))),
            ..new(number + 100_000)
        });
        sql.execute("BEGIN IMMEDIATE", []).unwrap();
        agentic_core::engine::tasks::create_many(
            &mut rows,
            &CreateMany::new(ready.chain(later).collect(), now),
        )
        .unwrap();
        rows.flush().unwrap();
        sql.execute("COMMIT", []).unwrap();
    }
}

/// Every statement of the crate that reads or changes rows that stand already.
fn statements() -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = [
        ("active jobs", allowances::ACTIVE),
        ("agent", agent::AGENT),
        ("agents", agent::AGENTS),
        ("silent agents", agent::SILENT),
        ("allowance", limits::ALLOWANCE),
        ("allowances", limits::ALLOWANCES),
        ("quota", limits::QUOTA),
        ("quotas", limits::QUOTAS),
        ("budget", limits::BUDGET),
        ("budgets", limits::BUDGETS),
        ("attempt", attempt::ATTEMPT),
        ("attempt's change", attempt::UPDATE_ATTEMPT),
        ("events after", log::EVENTS_AFTER),
        ("history", log::HISTORY),
        ("last event", log::LAST_EVENT),
        ("oldest events", log::OLDEST_EVENTS),
        ("trim", events::TRIM),
        ("oldest entries", fold::OLDEST_ENTRIES),
        ("folded entries", fold::DELETE_ENTRIES),
        ("emptied meter", fold::FORGET_METER),
        ("opening balance", meter::OPENING_BALANCE),
        ("an agent's opening balance", meter::OPENING_OF),
        ("opening balance that is over", meter::OPENING_DUE),
        ("forgotten opening balance", fold::FORGET_OPENING),
        ("an agent's entries", log::ENTRIES_OF),
        ("all moves", log::ALL_MOVES),
        ("all meters", meter::ALL_METERS),
        ("an agent's reset", meter::RESET_AT),
        ("reset", meter::PUT_RESET),
        ("counter", transaction::COUNTER),
        ("job", job::JOB),
        ("job's change", job::UPDATE_JOB),
        ("job's terms", job::UPDATE_TERMS),
        ("job's end", job::DELETE_JOB),
        ("expired jobs", job::EXPIRED_JOBS),
        ("ended jobs", job::ENDED_JOBS),
        ("jobs that have a task", job::KEEP_JOBS),
        ("jobs without a task", job::DELETE_JOBS),
        ("jobs of pruned tasks", job::DELETE_JOBS_OF),
        ("held by an agent", held::HELD_BY_AGENT),
        ("held by a model", held::HELD_BY_MODEL),
        ("held by an agent of a model", held::HELD_BY_AGENT_MODEL),
        ("held by a project", held::HELD_BY_PROJECT),
        ("held by all", held::HELD_BY_ALL),
        ("buckets", meter::BUCKETS),
        ("park", park::PARK),
        ("parked lane", park::PARKED_LANE),
        ("parked scope", park::PARKED_SCOPE),
        ("parked lanes", park::PARKED_ALL),
        ("setting", settings::SETTING),
        ("lanes", lanes::LANES),
        ("ready tasks", lanes::READY),
        ("task", task::TASK),
        ("task's move", task::MOVE_TASK),
        ("task's renewal", task::RENEW_TASK),
        ("task's change", task::UPDATE_TASK),
        ("texts' change", task::UPDATE_TEXTS),
        ("task by key", task::BY_KEY),
        ("dependents", task::DEPENDENTS),
        ("due tasks", task::DUE),
        ("deferred tasks", task::DEFERRED),
        ("last place", task::LAST_SEQ),
        ("counts", tasks::COUNTS),
        ("status", tasks::STATUS),
        ("assigned attempts", tasks::ASSIGNED),
        ("expired leases", tasks::EXPIRED),
        ("next due", tasks::NEXT_DUE),
        ("prunable tasks", tasks::PRUNABLE),
        ("pruned events", tasks::FORGET_EVENTS),
        ("pruned tasks", tasks::DELETE_TASKS),
    ]
    .map(|(name, sql)| (name.to_owned(), sql.to_owned()))
    .into();
    all.push(("tasks of a batch".to_owned(), task::TASKS_OF.statement(64)));
    all.push(("attempts of a batch".to_owned(), attempt::ATTEMPTS_OF.statement(64)));
    all.push(("jobs of a batch".to_owned(), job::JOBS_OF.statement(64)));
    all.extend(pages());
    all
}

/// A page under every combination of filters.
fn pages() -> impl Iterator<Item = (String, String)> {
    (0..64).map(|bits: u32| {
        let has = |bit: u32| bits & (1 << bit) != 0;
        let filter = TaskFilter {
            status: has(0).then_some(TaskStatus::Pending),
            labels: has(1).then(|| "a".parse().unwrap()).into_iter().collect(),
            priority: has(2).then_some(Priority::High),
            project: has(3).then(|| "p".parse().unwrap()),
            claimed_by: has(4).then(|| "a".parse().unwrap()),
        };
        let cursor = TaskCursor { created_at: Timestamp::EPOCH, id: "t".parse().unwrap() };
        let page = Page { limit: 100, cursor: has(5).then_some(cursor) };
        let (sql, _) = tasks::page_of(&filter, &page);
        (format!("page {bits:06b}"), sql)
    })
}
