//! `agentic demo`: everything in under a minute.
//!
//! A server on a fresh SQLite file, four agents that are processes of their own, thirty tasks. Attempts fail and are
//! retried, one task is given up, one agent is killed while it works, one runs out of tokens. Then the outcome is
//! read back, through the API and from the file, and held against what has to be true.

pub(crate) mod agent;
mod checks;
mod crew;
mod evidence;
mod plan;
mod story;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use agentic_client::Client;
use agentic_core::{agent::AgentInfo, clock::Timestamp};
use serde_json::json;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use self::{
    checks::Check,
    crew::Crew,
    evidence::{Evidence, Kept},
    plan::Plan,
    story::Story,
};
use crate::{
    args::DemoArgs,
    config::{self, Loaded, World},
    failure::Failure,
    output::{Table, or_dash},
    server::Listening,
    session::Session,
    signals::Stop,
    store::StoreUrl,
};

/// How long it may take on a machine that is far too busy; on others it takes a quarter of a minute.
const DEADLINE: Duration = Duration::from_mins(3);

/// Runs the demo; fails if anything is not as it should be.
pub(crate) async fn run(session: &Session, args: DemoArgs) -> Result<(), Failure> {
    let stop = Stop::on_signals()?;
    let place = Place::new(args.keep)?;
    let outcome = tokio::select! {
        outcome = perform(session, place.path()) => outcome,
        () = stop.gently.cancelled() => return Err(Failure::failed("the demo was interrupted")),
    };
    let look = |place: Place| format!("the database and the logs are in {}", place.keep().display());
    let evidence = match outcome {
        Ok(evidence) => evidence,
        Err(failure) => return Err(failure.hint(look(place))),
    };
    let checks = checks::all(&evidence);
    print(session, &evidence, &checks)?;
    match checks.iter().filter(|check| !check.ok).count() {
        0 => Ok(()),
        broken => {
            Err(Failure::failed(format!("{broken} of {} checks failed", checks.len())).hint(look(place)))
        }
    }
}

/// Where the demo keeps its database and its logs.
enum Place {
    Fresh(TempDir),
    Kept(PathBuf),
}

impl Place {
    fn new(keep: Option<PathBuf>) -> Result<Self, Failure> {
        let Some(path) = keep else {
            let fresh = tempfile::Builder::new().prefix("agentic-demo-").tempdir();
            return fresh
                .map(Self::Fresh)
                .map_err(|error| Failure::because("cannot make a directory", &error));
        };
        let cannot =
            |error: std::io::Error| Failure::because(format_args!("cannot use {}", path.display()), &error);
        fs::create_dir_all(&path).map_err(cannot)?;
        let path = path.canonicalize().map_err(cannot)?;
        if fs::read_dir(&path).map_err(cannot)?.next().is_some() {
            return Err(Failure::usage(format!("{} is not empty; the demo begins afresh", path.display())));
        }
        Ok(Self::Kept(path))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Fresh(directory) => directory.path(),
            Self::Kept(path) => path,
        }
    }

    /// Leaves it where it is, for who wants to look.
    fn keep(self) -> PathBuf {
        match self {
            Self::Fresh(directory) => directory.keep(),
            Self::Kept(path) => path,
        }
    }
}

/// Everything but the checks.
async fn perform(session: &Session, directory: &Path) -> Result<Evidence, Failure> {
    let began = session.now();
    let (file, loaded) = settings(directory)?;
    let listening = Listening::new(&loaded.settings).await?;
    let (base_url, token, place) = (listening.base_url(), listening.token.clone(), listening.store.clone());
    session.printer.note(&format!("a server listens on {base_url}, and keeps everything in {place}"));
    let client = Client::builder(&base_url).token(token.reveal()).build()?;
    let world = &session.loaded.world;
    let mut crew = Crew::new(world, directory, &file, base_url, token)?;

    // Dropping the set of tasks ends the server, however this ends.
    let stop = CancellationToken::new();
    let mut server = tokio::task::JoinSet::new();
    server.spawn(listening.run(stop.clone()));
    let plan = Plan::new()?;
    let mut story = Story::new(&plan, client.clone(), &mut crew, directory.to_owned(), session.printer);
    let in_time = tokio::time::timeout(DEADLINE, story.tell()).await;
    in_time.unwrap_or_else(|_| Err(late(&story)))?;

    let (told, agents) = evidence::told(&client).await?;
    session.printer.note("all tasks have ended; the agents and the server are told to end");
    let wrong = crew.end().await;
    stop.cancel();
    server.join_all().await;
    let ended = session.now();
    let kept = read_back(&place, &agents, ended).await?;
    let processes = (crew.noted()?, crew.left()?);
    Ok(Evidence { plan, told, agents, kept, began, ended, wrong, processes })
}

/// Writes the demo's settings, and reads them as any others.
fn settings(directory: &Path) -> Result<(PathBuf, Loaded), Failure> {
    let file = directory.join("agentic.yaml");
    fs::write(&file, plan::SETTINGS)?;
    let world = World { directory: directory.to_owned(), ..World::default() };
    let data_dir = vec![("data_dir", json!(directory), "--keep")];
    let loaded = config::load(world, Some(&file), data_dir)?;
    Ok((file, loaded))
}

fn late(story: &Story<'_>) -> Failure {
    let left: Vec<String> = story.unfinished().into_iter().map(ToString::to_string).collect();
    Failure::failed(format!("after {DEADLINE:?} these tasks have not ended: {}", left.join(", ")))
}

/// Opens the store anew, as nothing else has it open now, and reads what it holds.
async fn read_back(store: &StoreUrl, agents: &[AgentInfo], now: Timestamp) -> Result<Kept, Failure> {
    let ports = tokio::task::block_in_place(|| store.open()).map_err(Failure::local)?;
    evidence::kept(&ports, agents, now).await.map_err(Failure::local)
}

/// The outcome: every task, and every check.
fn print(session: &Session, evidence: &Evidence, checks: &[Check]) -> Result<(), Failure> {
    if session.printer.is_json {
        return session.printer.json(&json!({ "tasks": evidence.kept.tasks, "checks": checks }));
    }
    let mut tasks = Table::new(&["TASK", "STATUS", "PRIORITY", "TRY", "RETRIES", "AGENT"]);
    for task in &evidence.kept.tasks {
        tasks.row([
            task.id.to_string(),
            task.status.to_string(),
            task.priority.to_string(),
            task.attempt.to_string(),
            task.retry_count.to_string(),
            or_dash(task.claimed_by.as_ref()),
        ]);
    }
    session.printer.table(tasks)?;
    session.printer.raw("")?;
    let mut outcome = Table::new(&["", "CHECK", "FOUND"]);
    for check in checks {
        let verdict = if check.ok { "ok" } else { "FAILED" };
        outcome.row([verdict.to_owned(), check.what.to_owned(), check.detail.clone()]);
    }
    session.printer.table(outcome)
}
