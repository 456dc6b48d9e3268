//! `agentic submit --from FILE`.

use std::path::Path;

use agentic_client::Client;
use agentic_core::{
    api::CreateTask,
    explain::Explanation,
    task::{MAX_BATCH, Task},
};
use indicatif::{ProgressBar, ProgressStyle};

use super::explain;
use crate::{
    args::SubmitArgs,
    failure::Failure,
    output::{Table, or_dash},
    session::Session,
    yaml,
};

/// The most that one request carries, in bytes; servers refuse bodies above 1 MiB.
const MAX_BODY: usize = 900 * 1024;

/// Submits the tasks in a file, at most 1,000 at a time; each batch is created whole or not at all.
pub(super) async fn submit(session: &Session, path: &Path, args: &SubmitArgs) -> Result<(), Failure> {
    let mut tasks = read(path)?;
    for (i, task) in tasks.iter_mut().enumerate() {
        task.project = task
            .project
            .take()
            .or_else(|| args.project.clone())
            .or_else(|| session.loaded.settings.default_project.clone());
        if let (None, Some(key)) = (&task.idempotency_key, &args.idempotency_key) {
            task.idempotency_key = Some(format!("{key}/{i}"));
        }
    }
    let client = session.client()?;
    if args.dry_run {
        return rehearse(session, &client, &tasks).await;
    }
    let bar = progress(session, tasks.len());
    let mut created: Vec<Task> = Vec::with_capacity(tasks.len());
    let mut outcome = Ok(());
    for batch in batches(&tasks) {
        match client.create_tasks(batch, None).await {
            Ok(more) => created.extend(more),
            Err(error) => {
                outcome = Err(stopped(error.into(), created.len(), tasks.len()));
                break;
            }
        }
        bar.set_position(created.len() as u64);
    }
    bar.finish_and_clear();
    // What was created is told even when the rest was not.
    if session.printer.is_json {
        session.printer.json(&created)?;
    } else {
        for task in &created {
            session.printer.line(task.id.as_str())?;
        }
        session.printer.note(&format!("submitted {} of {} tasks", created.len(), tasks.len()));
    }
    outcome
}

/// Says what would become of each task.
async fn rehearse(session: &Session, client: &Client, tasks: &[CreateTask]) -> Result<(), Failure> {
    let [batch] = batches(tasks).try_into().map_err(|batches: Vec<_>| {
        let error = format!("{} tasks are too many for one dry run, which takes one request", tasks.len());
        Failure::usage(error)
            .hint(format!("they would be submitted in {} requests; split the file", batches.len()))
    })?;
    let answers = client.dry_run(batch, 0).await?;
    if session.printer.is_json {
        return session.printer.json(&answers);
    }
    let mut table = Table::new(&["TITLE", "WOULD BE", "TAKEN NOW BY", "BECAUSE"]);
    for Explanation { task, because, prospects } in answers {
        let choice = prospects.as_ref().and_then(|prospects| prospects.choice.as_ref());
        let mut reasons: Vec<String> = because.iter().map(explain::words).collect();
        let others = prospects.iter().flat_map(|prospects| &prospects.others);
        let others: Vec<String> = others.map(|(standing, count)| format!("{count} {standing}")).collect();
        if choice.is_none() && !others.is_empty() {
            reasons.push(format!("agents: {}", others.join(", ")));
        }
        table.row([task.title, task.status.to_string(), or_dash(choice), reasons.join("; ")]);
    }
    session.printer.table(table)?;
    session.printer.note("nothing was created");
    Ok(())
}

fn stopped(failure: Failure, done: usize, all: usize) -> Failure {
    if all <= 1 {
        return failure;
    }
    failure.hint(format!(
        "{done} of {all} tasks were submitted before that; with --idempotency-key the same command can be repeated \
         and creates each once"
    ))
}

fn progress(session: &Session, tasks: usize) -> ProgressBar {
    if !session.printer.is_lively() || tasks <= MAX_BATCH {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} tasks")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(tasks as u64).with_style(style)
}

/// The tasks in portions that the server takes.
fn batches(tasks: &[CreateTask]) -> Vec<&[CreateTask]> {
    let mut batches = Vec::new();
    let (mut start, mut size) = (0, 0);
    for (i, task) in tasks.iter().enumerate() {
        let len = serde_json::to_vec(task).map_or(0, |json| json.len() + 1);
        if i > start && (i - start == MAX_BATCH || size + len > MAX_BODY) {
            batches.push(&tasks[start..i]);
            (start, size) = (i, 0);
        }
        size += len;
    }
    if start < tasks.len() {
        batches.push(&tasks[start..]);
    }
    batches
}

/// Reads a file of tasks by its extension.
fn read(path: &Path) -> Result<Vec<CreateTask>, Failure> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::because(format_args!("cannot read {name}"), &error))?;
    let tasks = match path.extension().and_then(|extension| extension.to_str()) {
        Some("yaml" | "yml") => yaml::parse(&text, &name)?,
        Some("json") => serde_json::from_str(&text)
            .map_err(|error| Failure::usage(format!("{name} is not valid: {error}")))?,
        Some("jsonl" | "ndjson") => lines(&text, &name)?,
        _ => {
            return Err(Failure::usage(format!("{name} is of no known kind"))
                .hint("name it .yaml or .json (a list of tasks) or .jsonl (a task a line)"));
        }
    };
    if tasks.is_empty() { Err(Failure::usage(format!("{name} has no task"))) } else { Ok(tasks) }
}

fn lines(text: &str, name: &str) -> Result<Vec<CreateTask>, Failure> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(i, line)| {
            serde_json::from_str(line)
                .map_err(|error| Failure::usage(format!("line {} of {name} is not valid: {error}", i + 1)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tasks(n: usize, description: usize) -> Vec<CreateTask> {
        let task = CreateTask { description: "x".repeat(description), ..CreateTask::new("t") };
        vec![task; n]
    }

    #[test]
    fn batches_have_at_most_a_thousand_tasks_and_a_mebibyte() {
        let sizes = |tasks: &[CreateTask]| batches(tasks).iter().map(|batch| batch.len()).collect::<Vec<_>>();
        assert_eq!(sizes(&tasks(2_500, 0)), [1_000, 1_000, 500]);
        assert_eq!(sizes(&tasks(1_000, 0)), [1_000]);
        assert_eq!(sizes(&tasks(3, 500_000)), [1, 1, 1]);
        assert_eq!(sizes(&tasks(1, 2_000_000)), [1], "the server says that it is too large");
        assert!(sizes(&[]).is_empty());
        for batch in batches(&tasks(900, 10_000)) {
            assert!(serde_json::to_vec(batch).unwrap().len() <= 1 << 20);
        }
    }

    #[test]
    fn files_are_read_by_their_kind() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            read(&path)
        };
        for (name, text) in [
            ("a.yaml", "- title: x\n  labels: [a]\n- title: no\n"),
            ("a.json", r#"[{"title": "x", "labels": ["a"]}, {"title": "no"}]"#),
            ("a.jsonl", "{\"title\": \"x\", \"labels\": [\"a\"]}\n\n{\"title\": \"no\"}\n"),
        ] {
            let tasks = write(name, text).unwrap();
            assert_eq!(tasks.iter().map(|t| t.title.as_str()).collect::<Vec<_>>(), ["x", "no"], "{name}");
            assert_eq!(tasks[0].labels.len(), 1, "{name}");
        }
        let unknown = write("b.yaml", "- title: x\n  priorty: high\n").unwrap_err();
        assert_eq!(unknown.hints, ["did you mean `priority`?"]);
        assert!(write("b.jsonl", "{\"title\":\"x\"}\nnope\n").unwrap_err().error.contains("line 2"));
        assert!(write("b.txt", "x").unwrap_err().hints[0].contains(".jsonl"));
        assert!(write("c.json", "[]").is_err());
    }
}
