//! One run of the demo, from the first process to the last check.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use agentic_client::Client;
use agentic_core::{agent::AgentInfo, clock::Timestamp};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{
    checks::{self, Check},
    crew::Crew,
    evidence::{self, Evidence, Kept},
    place::Place,
    plan::{self, Plan},
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
    store::{StoreOptions, StoreUrl},
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
    let printed = print(session, &evidence, &checks);
    match checks.iter().filter(|check| !check.ok).count() {
        0 => printed,
        broken => {
            Err(Failure::failed(format!("{broken} of {} checks failed", checks.len())).hint(look(place)))
        }
    }
}

/// Everything but the checks.
async fn perform(session: &Session, directory: &Path) -> Result<Evidence, Failure> {
    let began = session.now();
    let (file, loaded) = settings(directory)?;
    let listening = Listening::new(&loaded).await?;
    let (base_url, token, place) =
        (listening.base_url(), listening.token.clone(), listening.urls.store.clone());
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
    let ports = store.open(&StoreOptions::new()).await.map_err(Failure::local)?.ports;
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
