//! One call on both back ends, and the reads that compare all of them.

use agentic_core::{
    clock::Timestamp,
    error::{Error, Result},
    id::{AgentId, JobId, ModelName},
    limit::{Meter, MeterKey, Scope, Window},
    port::{ExpiredJobs, Ports, ReadEntries},
    rpc::{Call, serve},
    task::{Page, TaskFilter},
};
use serde_json::{Value, json};

use super::generate::{AGENTS, MODELS, PROJECT, TASKS};
use crate::{
    given::{id, t},
    invariants::all_tasks,
};

/// What a call came to, as far as a caller can act on it: words may differ.
pub(super) fn shape(answer: &Result<Value>) -> Value {
    match answer {
        Ok(value) => json!({ "ok": value }),
        Err(error) => {
            let more = match error {
                Error::NotFound { kind, id } => json!({ "kind": kind, "id": id }),
                Error::Conflict { holder, .. } => json!(holder),
                Error::Invalid { field, .. } => json!(field),
                Error::Refused(refusal) => json!({
                    "key": refusal.key.as_ref().map(ToString::to_string),
                    "figures": [refusal.used, refusal.reserved, refusal.need],
                    "cap": refusal.cap,
                    "retry_at": refusal.retry_at,
                }),
                _ => Value::Null,
            };
            json!({ "error": error.code(), "about": more })
        }
    }
}

/// The shape of the answer of a call, without what each store words for itself.
fn shape_of(call: &Call, answer: &Result<Value>) -> Value {
    let mut shape = shape(answer);
    if matches!(call, Call::AllowancesEntries { .. })
        && let Some(next) = shape.pointer_mut("/ok/next")
    {
        *next = json!(!next.is_null());
    }
    shape
}

/// Where two answers part first, and what stands there.
fn difference(left: &Value, right: &Value, at: &str) -> String {
    match (left, right) {
        (Value::Array(lefts), Value::Array(rights)) if lefts.len() == rights.len() => {
            let mut pairs = lefts.iter().zip(rights).enumerate();
            let parts = pairs.find(|(_, (left, right))| left != right);
            parts.map(|(i, (left, right))| difference(left, right, &format!("{at}[{i}]")))
        }
        (Value::Object(lefts), Value::Object(rights)) if lefts.keys().eq(rights.keys()) => {
            let mut pairs = lefts.iter().zip(rights.values());
            let parts = pairs.find(|((_, left), right)| left != right);
            parts.map(|((key, left), right)| difference(left, right, &format!("{at}.{key}")))
        }
        _ => None,
    }
    .unwrap_or_else(|| format!("at {at}\nleft  {left}\nright {right}"))
}

/// Has both serve a call; says what they answered if it is not the same. The left answer comes along.
pub(super) async fn both(left: &Ports, right: &Ports, call: &Call) -> (Result<Value>, Option<String>) {
    let answers = (serve(left, call.clone()).await, serve(right, call.clone()).await);
    let shapes = (shape_of(call, &answers.0), shape_of(call, &answers.1));
    let parted = (shapes.0 != shapes.1).then(|| difference(&shapes.0, &shapes.1, ""));
    (answers.0, parted)
}

/// Reads that show all there is, as far as the generator can have made it.
///
/// # Errors
/// What the ports answer.
pub(super) async fn all_reads(left: &Ports, now: Timestamp) -> Result<Vec<Call>> {
    let mut calls = vec![
        Call::TasksList { filter: TaskFilter::default(), page: Page::first(Page::MAX_LIMIT), now },
        Call::TasksCounts {},
        Call::TasksLanes { limit: 100 },
        Call::TasksNextDue {},
        Call::TasksExpired { now, limit: 100 },
        Call::AgentsList {},
        Call::AllowancesAllowances {},
        Call::AllowancesModelQuotas {},
        Call::AllowancesBudgets {},
        Call::AllowancesLimitsRevision {},
        Call::AllowancesReadings { keys: all_meters(), now },
        Call::AllowancesActiveJobs { agents: AGENTS.iter().map(|agent| id(agent)).collect(), now },
        Call::AllowancesExpired { expired: ExpiredJobs { limit: 1_000, now } },
        Call::AllowancesVerify {},
        Call::SettingsGet { key: "paused".to_owned() },
        Call::EventsLast {},
    ];
    for task in all_tasks(left).await? {
        calls.push(Call::TasksHistory { id: task.id.clone(), after: 0, limit: 1_000 });
        for number in 1..=task.attempt {
            calls.push(Call::TasksAttempt { job: JobId::new(task.id.clone(), number) });
        }
        calls.push(Call::TasksReady { lane: task.lane(), limit: 100 });
    }
    // Jobs may outlive their tasks.
    for task in TASKS {
        calls.extend((1..=8).map(|number| Call::AllowancesJob { job: JobId::new(id(task), number) }));
    }
    for agent in AGENTS {
        let agent: AgentId = id(agent);
        let read = ReadEntries { agent_id: agent.clone(), cursor: None, limit: 1_000 };
        calls.push(Call::AllowancesEntries { read });
        calls.extend((0..=3).map(|incarnation| Call::TasksAssigned {
            agent: agent.clone(),
            incarnation,
            limit: 100,
        }));
    }
    let last = left.events.last().await?;
    calls.extend((0..=last).step_by(500).map(|cursor| Call::EventsAfter { cursor, limit: 500 }));
    Ok(calls)
}

/// Every meter that the generator's limits name.
fn all_meters() -> Vec<MeterKey> {
    let mut scopes = vec![Scope::Fleet, Scope::Project(id(PROJECT))];
    for agent in AGENTS {
        scopes.push(Scope::Agent(id(agent)));
        scopes.extend(MODELS.iter().map(|model| Scope::AgentModel(id(agent), id::<ModelName>(model))));
    }
    scopes.extend(MODELS.iter().map(|model| Scope::Model(id(model))));
    let meters = [
        (Meter::Tokens, Window::Day),
        (Meter::Tokens, Window::Sliding(600)),
        (Meter::Jobs, Window::Day),
        (Meter::Requests, Window::HOUR),
        (Meter::Cost, Window::Lifetime),
        (Meter::Cost, Window::Day),
        (Meter::Tokens, Window::anchored(600, t(7))),
        (Meter::Tokens, Window::anchored(600, t(311))),
        (Meter::ActiveJobs, Window::Live),
    ];
    let keys = scopes
        .iter()
        .flat_map(|scope| meters.map(|(meter, window)| MeterKey { scope: scope.clone(), meter, window }));
    keys.collect()
}
