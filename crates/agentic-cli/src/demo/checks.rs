//! What has to be true when the demo is over.

use std::collections::{BTreeMap, BTreeSet};

use agentic_core::{
    event::{Event, EventType},
    id::{AgentId, TaskId},
    task::{Task, TaskStatus},
};
use serde::Serialize;

use super::{
    evidence::Evidence,
    plan::{KILLED, LEASE, RAISED_TOKENS, SPENT, SPENT_TOKENS, VICTIM},
};

/// One thing that has to be true, and whether it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    /// What has to be true.
    pub(super) what: &'static str,
    /// Whether it is.
    pub(super) ok: bool,
    /// The figures, or what is wrong.
    pub(super) detail: String,
}

/// What a check finds: the figures, or what is wrong.
type Found = Result<String, String>;

/// Looks for one thing.
type Finder = fn(&Evidence) -> Found;

/// All checks, in order.
pub(super) fn all(evidence: &Evidence) -> Vec<Check> {
    let checks: [(&'static str, Finder); 11] = [
        ("every task ended as it should", ended),
        ("the API told what the store keeps", told),
        ("no attempt began while another held the task", leases),
        ("no agent ran more at once than it may", load),
        ("no agent was given work over its daily limits", budgets),
        ("dependencies came first", dependencies),
        ("every failed attempt was counted, and one task is a dead letter", retries),
        ("the work of the killed agent was recovered", recovered),
        ("the agent without tokens waited until it had more", spent),
        ("the meters are the sum of what was charged", meters),
        ("no process is left", processes),
    ];
    let run = |(what, check): (&'static str, Finder)| match check(evidence) {
        Ok(detail) => Check { what, ok: true, detail },
        Err(detail) => Check { what, ok: false, detail },
    };
    checks.into_iter().map(run).collect()
}

fn ended(evidence: &Evidence) -> Found {
    let mut found: BTreeMap<&TaskId, TaskStatus> =
        evidence.kept.tasks.iter().map(|task| (&task.id, task.status)).collect();
    for planned in &evidence.plan.tasks {
        match found.remove(&planned.id) {
            Some(status) if status == planned.ends() => {}
            Some(status) => return Err(format!("{} is {status}, not {}", planned.id, planned.ends())),
            None => return Err(format!("{} is lost", planned.id)),
        }
    }
    match found.keys().next() {
        Some(stranger) => Err(format!("{stranger} was never submitted")),
        None => Ok(format!("{} tasks", evidence.kept.tasks.len())),
    }
}

fn told(evidence: &Evidence) -> Found {
    let brief = |task: &Task| (task.id.clone(), task.status, task.attempt, task.retry_count, task.updated_at);
    let sorted = |tasks: &[Task]| tasks.iter().map(brief).collect::<BTreeSet<_>>();
    match sorted(&evidence.told).symmetric_difference(&sorted(&evidence.kept.tasks)).next() {
        Some((id, ..)) => Err(format!("{id} differs")),
        None => Ok(format!("{} tasks", evidence.told.len())),
    }
}

/// Whether an event ends the attempt that runs.
fn ends_attempt(kind: EventType) -> bool {
    matches!(
        kind,
        EventType::TaskCompleted
            | EventType::TaskRetryScheduled
            | EventType::TaskDeadLettered
            | EventType::TaskReleased
            | EventType::TaskCancelled
            | EventType::LeaseExpired
    )
}

/// Events of tasks with an agent: what attempts are made of.
fn moves(evidence: &Evidence) -> impl Iterator<Item = (EventType, &TaskId, &AgentId, &Event)> {
    evidence
        .kept
        .events
        .iter()
        .filter_map(|event| Some((event.kind, event.task_id.as_ref()?, event.agent_id.as_ref()?, event)))
}

fn leases(evidence: &Evidence) -> Found {
    let mut open: BTreeMap<&TaskId, &AgentId> = BTreeMap::new();
    let mut last: BTreeMap<&TaskId, u64> = BTreeMap::new();
    for (kind, task, agent, event) in moves(evidence) {
        if kind == EventType::TaskClaimed {
            if let Some(holder) = open.insert(task, agent) {
                return Err(format!("{agent} got {task} while {holder} had it"));
            }
            let attempt = number(event, "attempt");
            if attempt != last.get(task).copied().unwrap_or(0) + 1 {
                return Err(format!("attempt {attempt} of {task} is out of order"));
            }
            last.insert(task, attempt);
        } else if ends_attempt(kind) {
            open.remove(task);
        }
    }
    match open.iter().next() {
        Some((task, agent)) => Err(format!("{agent} still has {task}")),
        None => Ok(format!("{} attempts", last.values().sum::<u64>())),
    }
}

fn load(evidence: &Evidence) -> Found {
    // A lease that ran out was free before the event that tells it: it counts for as long as it surely lived.
    let expired: BTreeSet<(&TaskId, u64)> = moves(evidence)
        .filter(|(kind, ..)| *kind == EventType::LeaseExpired)
        .map(|(_, task, _, event)| (task, number(event, "attempt")))
        .collect();
    let mut running: BTreeMap<&AgentId, BTreeMap<&TaskId, &Event>> = BTreeMap::new();
    let mut most: BTreeMap<&AgentId, u64> = BTreeMap::new();
    for (kind, task, agent, event) in moves(evidence) {
        let tasks = running.entry(agent).or_default();
        if kind == EventType::TaskClaimed {
            tasks.insert(task, event);
            let counts = |(task, claim): &(&&TaskId, &&Event)| {
                !expired.contains(&(**task, number(claim, "attempt")))
                    || claim.timestamp.plus(LEASE) > event.timestamp
            };
            let most = most.entry(agent).or_default();
            *most = (*most).max(tasks.iter().filter(counts).count() as u64);
        } else if ends_attempt(kind) {
            tasks.remove(task);
        }
    }
    for planned in &evidence.plan.agents {
        let most = most.get(&planned.id).copied().unwrap_or(0);
        let concurrent = planned.allowance.concurrent_jobs.get();
        let cap =
            if concurrent == 0 { planned.max_load.into() } else { concurrent.min(planned.max_load.into()) };
        if most == 0 {
            return Err(format!("{} never had work", planned.id));
        }
        if most > cap {
            return Err(format!("{} ran {most} at once, and may run {cap}", planned.id));
        }
    }
    Ok(most.iter().map(|(agent, most)| format!("{agent} {most}")).collect::<Vec<_>>().join(", "))
}

fn budgets(evidence: &Evidence) -> Found {
    let mut tokens: BTreeMap<&AgentId, u64> = BTreeMap::new();
    let mut jobs: BTreeMap<&AgentId, u64> = BTreeMap::new();
    // The first change of each agent's limits sets them as planned.
    let mut changes: BTreeMap<&AgentId, u32> = BTreeMap::new();
    for event in &evidence.kept.events {
        let Some(agent) = &event.agent_id else { continue };
        match event.kind {
            EventType::LimitsChanged => *changes.entry(agent).or_default() += 1,
            EventType::UsageRecorded => {
                let net = number(event, "tokens").saturating_sub(number(event, "refunded_tokens"));
                *tokens.entry(agent).or_default() += net;
                *jobs.entry(agent).or_default() += u64::from(text(event, "event") == "job_started");
            }
            EventType::TaskClaimed => {
                let planned = evidence.plan.agents.iter().find(|planned| planned.id == *agent);
                let Some(planned) = planned else { return Err(format!("{agent} is a stranger")) };
                let raised = changes.get(agent).is_some_and(|changes| *changes > 1);
                let cap = if raised { RAISED_TOKENS } else { planned.allowance.daily_token_limit };
                let used = tokens.get(agent).copied().unwrap_or(0);
                if !cap.is_zero() && used >= cap.get() && !evidence.is_past_midnight() {
                    return Err(format!("{agent} got work with {used} of {cap} tokens used"));
                }
                let (cap, used) = (planned.allowance.daily_job_limit, jobs.get(agent).copied().unwrap_or(0));
                if !cap.is_zero() && used >= cap.get() && !evidence.is_past_midnight() {
                    return Err(format!("{agent} got work with {used} of {cap} jobs used"));
                }
            }
            _ => {}
        }
    }
    Ok(tokens.iter().map(|(agent, tokens)| format!("{agent} {tokens} tokens")).collect::<Vec<_>>().join(", "))
}

fn dependencies(evidence: &Evidence) -> Found {
    let mut completed: BTreeSet<&TaskId> = BTreeSet::new();
    let mut held = 0;
    for (kind, task, ..) in moves(evidence) {
        if kind == EventType::TaskCompleted {
            completed.insert(task);
        } else if kind == EventType::TaskClaimed {
            let planned = evidence.plan.tasks.iter().find(|planned| planned.id == *task);
            for dependency in planned.into_iter().flat_map(|planned| &planned.create.dependencies) {
                if !completed.contains(dependency) {
                    return Err(format!("{task} began before {dependency} was completed"));
                }
                held += 1;
            }
        }
    }
    Ok(format!("{held} held"))
}

fn retries(evidence: &Evidence) -> Found {
    let count = |task: &TaskId, wanted: EventType| {
        let of_task = evidence.kept.events.iter().filter(|event| event.task_id.as_ref() == Some(task));
        u32::try_from(of_task.filter(|event| event.kind == wanted).count()).unwrap_or(u32::MAX)
    };
    let (mut retried, mut dead) = (0, Vec::new());
    for task in &evidence.kept.tasks {
        let counted = count(&task.id, EventType::TaskRetryScheduled);
        if counted != task.retry_count {
            return Err(format!("{} was retried {counted} times, and counts {}", task.id, task.retry_count));
        }
        let planned = evidence.plan.tasks.iter().find(|planned| planned.id == task.id);
        let letters = count(&task.id, EventType::TaskDeadLettered);
        if planned.is_some_and(|planned| counted + letters < planned.failures()) {
            return Err(format!("{} failed only {} times", task.id, counted + letters));
        }
        if letters > 0 {
            if letters > 1 || task.retry_count != task.max_retries || task.fail_reason.is_none() {
                return Err(format!("{} is no proper dead letter", task.id));
            }
            dead.push(task.id.to_string());
        }
        retried += counted;
    }
    match dead.as_slice() {
        [one] => Ok(format!("{retried} retries, {one} given up")),
        _ => Err(format!("{} dead letters: {}", dead.len(), dead.join(", "))),
    }
}

fn recovered(evidence: &Evidence) -> Found {
    let killed = evidence.agents.iter().find(|agent| agent.id.as_str() == KILLED);
    let starts = killed.map_or(0, |agent| agent.incarnation);
    if starts < 2 {
        return Err(format!("{KILLED} was started {starts} times"));
    }
    let of_victim = |event: &&Event| event.task_id.as_ref().is_some_and(|task| task.as_str() == VICTIM);
    let kinds: Vec<EventType> =
        evidence.kept.events.iter().filter(of_victim).map(|event| event.kind).collect();
    let lost = kinds.iter().position(|kind| *kind == EventType::LeaseExpired);
    let done = kinds.iter().position(|kind| *kind == EventType::TaskCompleted);
    match (lost, done) {
        (Some(lost), Some(done)) if lost < done => Ok(format!(
            "{VICTIM}, in attempt {}",
            kinds.iter().filter(|kind| **kind == EventType::TaskClaimed).count()
        )),
        _ => Err(format!("{VICTIM} did not lose its lease and then complete")),
    }
}

fn spent(evidence: &Evidence) -> Found {
    if evidence.is_past_midnight() {
        return Ok("a new day began meanwhile, with a new budget".to_owned());
    }
    let changes = |event: &&Event| {
        event.kind == EventType::LimitsChanged
            && event.agent_id.as_ref().is_some_and(|agent| agent.as_str() == SPENT)
    };
    let raised = evidence.kept.events.iter().filter(changes).nth(1).map(|event| event.id);
    let parked = evidence.kept.events.iter().find(|event| {
        event.kind == EventType::DispatchFailedQuota
            && event.task_id.as_ref().is_some_and(|task| task.as_str().starts_with("audit"))
    });
    match (parked, raised) {
        (Some(parked), Some(raised)) if parked.id < raised => {
            let task = parked.task_id.as_ref().map(ToString::to_string).unwrap_or_default();
            Ok(format!("{task} waited at {SPENT_TOKENS} tokens"))
        }
        _ => Err(format!("{SPENT} never ran out")),
    }
}

fn meters(evidence: &Evidence) -> Found {
    if evidence.kept.held > 0 {
        return Err(format!("{} reservations are still held", evidence.kept.held));
    }
    match evidence.kept.differences.first() {
        Some(difference) => Err(format!(
            "{} stands at {}, and its entries are {}",
            difference.key, difference.meter, difference.entries
        )),
        None => Ok("nothing differs, nothing is held".to_owned()),
    }
}

fn processes(evidence: &Evidence) -> Found {
    let (noted, left) = &evidence.processes;
    match (evidence.wrong.first(), left.first(), noted) {
        (Some(wrong), ..) => Err(wrong.clone()),
        (None, Some(id), _) => Err(format!("process {id} still runs, and {} more", left.len() - 1)),
        (None, None, 0) => Err("no agent left a trace".to_owned()),
        (None, None, noted) => Ok(format!("{noted} came and went")),
    }
}

fn number(event: &Event, name: &str) -> u64 {
    event.payload.as_ref().and_then(|payload| payload[name].as_u64()).unwrap_or(0)
}

fn text<'a>(event: &'a Event, name: &str) -> &'a str {
    event.payload.as_ref().and_then(|payload| payload[name].as_str()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use agentic_core::{
        agent::{AgentInfo, AgentStatus},
        clock::Timestamp,
        event::NewEvent,
        limit::{Meter, MeterKey, Scope, Window},
        port::Difference,
    };
    use serde_json::json;

    use super::super::{
        evidence::Kept,
        plan::{HOPELESS, Plan, PlannedTask},
    };
    use super::*;

    const NOON: Timestamp = Timestamp::from_millis(43_200_000);

    /// A run as it should be, told by its events.
    #[derive(Default)]
    struct Told(Vec<Event>);

    impl Told {
        fn push(
            &mut self,
            kind: EventType,
            task: Option<&TaskId>,
            agent: &AgentId,
            payload: serde_json::Value,
        ) {
            let event = NewEvent::new(kind, NOON).agent(agent).payload(payload);
            let id = self.0.len() as u64 + 1;
            self.0.push(NewEvent { task_id: task.cloned(), ..event }.numbered(id));
        }

        /// Every attempt of one task.
        fn task(&mut self, planned: &PlannedTask, agent: &AgentId) -> Task {
            let new = planned.create.clone().into_new(|| planned.id.clone()).unwrap();
            let mut task = new.into_task(NOON);
            let failures = planned.failures().max(u32::from(planned.id.as_str() == VICTIM));
            for attempt in 1..=failures + u32::from(planned.ends() == TaskStatus::Completed) {
                let about = json!({ "attempt": attempt });
                self.push(EventType::TaskClaimed, Some(&planned.id), agent, about.clone());
                self.push(
                    EventType::UsageRecorded,
                    Some(&planned.id),
                    agent,
                    json!({ "event": "job_started" }),
                );
                let fails = attempt <= failures;
                let used = json!({ "event": "job_ended", "tokens": 300, "refunded_tokens": 0 });
                self.push(EventType::UsageRecorded, Some(&planned.id), agent, used);
                if fails && planned.id.as_str() == VICTIM {
                    self.push(EventType::LeaseExpired, Some(&planned.id), agent, about.clone());
                }
                let (kind, status) = match fails {
                    false => (EventType::TaskCompleted, TaskStatus::Completed),
                    true if attempt > task.max_retries => (EventType::TaskDeadLettered, TaskStatus::Failed),
                    true => (EventType::TaskRetryScheduled, TaskStatus::Pending),
                };
                self.push(kind, Some(&planned.id), agent, about);
                task.retry_count += u32::from(kind == EventType::TaskRetryScheduled);
                (task.status, task.attempt) = (status, attempt);
            }
            task.fail_reason = (task.status == TaskStatus::Failed).then(|| "max retries exceeded".to_owned());
            task
        }
    }

    fn agent(id: &AgentId) -> AgentInfo {
        AgentInfo {
            id: id.clone(),
            name: id.to_string(),
            capabilities: BTreeSet::new(),
            models: Vec::new(),
            status: AgentStatus::Available,
            draining: false,
            last_heartbeat: NOON,
            current_load: 0,
            max_load: 1,
            registered_at: NOON,
            incarnation: 2,
        }
    }

    fn good() -> Evidence {
        let plan = Plan::new().unwrap();
        let (mut told, mut tasks) = (Told::default(), Vec::new());
        for planned in &plan.agents {
            told.push(EventType::LimitsChanged, None, &planned.id, json!({}));
        }
        let mut left: Vec<&PlannedTask> = plan.tasks.iter().collect();
        while !left.is_empty() {
            let done: BTreeSet<TaskId> = tasks.iter().map(|task: &Task| task.id.clone()).collect();
            let ready = |task: &&PlannedTask| task.create.dependencies.iter().all(|id| done.contains(id));
            let next = left.remove(left.iter().position(ready).unwrap());
            let fits = plan.agents.iter().rfind(|agent| next.create.labels.is_subset(&agent.capabilities));
            // The fourth of these tasks finds the budget used up.
            if next.id.as_str() == "audit-access" {
                told.push(EventType::DispatchFailedQuota, Some(&next.id), &fits.unwrap().id, json!({}));
                told.push(EventType::LimitsChanged, None, &fits.unwrap().id, json!({}));
            }
            tasks.push(told.task(next, &fits.unwrap().id));
        }
        // Somebody has to work for the one that the search above never finds.
        let idle = &plan.agents[0].id;
        for event in &mut told.0 {
            if event.task_id.as_ref().is_some_and(|task| task.as_str() == "docs-faq") {
                event.agent_id = Some(idle.clone());
            }
        }
        let agents = plan.agents.iter().map(|planned| agent(&planned.id)).collect();
        let kept = Kept { tasks: tasks.clone(), events: told.0, ..Kept::default() };
        let (began, ended) = (NOON, NOON);
        Evidence {
            plan,
            told: tasks,
            agents,
            kept,
            began,
            ended,
            wrong: Vec::new(),
            processes: (9, Vec::new()),
        }
    }

    /// Which checks fail when this is changed.
    fn failing(change: impl FnOnce(&mut Evidence)) -> Vec<&'static str> {
        let mut evidence = good();
        change(&mut evidence);
        all(&evidence).into_iter().filter(|check| !check.ok).map(|check| check.what).collect()
    }

    fn position(evidence: &Evidence, kind: EventType, task: &str) -> usize {
        let is = |event: &Event| {
            event.kind == kind && event.task_id.as_ref().is_some_and(|id| id.as_str() == task)
        };
        evidence.kept.events.iter().position(is).unwrap()
    }

    #[test]
    fn a_run_as_it_should_be_passes() {
        let broken: Vec<Check> = all(&good()).into_iter().filter(|check| !check.ok).collect();
        assert!(broken.is_empty(), "{broken:#?}");
    }

    #[test]
    fn lost_and_unfinished_tasks_are_found() {
        let lost = failing(|evidence| drop((evidence.kept.tasks.pop(), evidence.told.pop())));
        assert!(lost.contains(&"every task ended as it should"));
        let unfinished = failing(|evidence| evidence.kept.tasks[3].status = TaskStatus::Pending);
        assert_eq!(unfinished, ["every task ended as it should", "the API told what the store keeps"]);
    }

    #[test]
    fn a_double_lease_is_found() {
        let found = failing(|evidence| {
            let claim = position(evidence, EventType::TaskClaimed, "docs-faq");
            let mut twice = evidence.kept.events[claim].clone();
            twice.payload = Some(json!({ "attempt": 2 }));
            evidence.kept.events.insert(claim + 1, twice);
        });
        assert_eq!(found, ["no attempt began while another held the task"]);
    }

    #[test]
    fn too_much_at_once_is_found() {
        let found = failing(|evidence| {
            let claim = position(evidence, EventType::TaskClaimed, "gpu-evaluate");
            let early = evidence.kept.events.remove(claim);
            let done = position(evidence, EventType::TaskCompleted, VICTIM);
            evidence.kept.events.insert(done, early);
        });
        assert_eq!(found, ["no agent ran more at once than it may", "dependencies came first"]);
    }

    #[test]
    fn the_place_of_a_lease_is_free_once_it_ran_out() {
        let found = |later: Duration| {
            failing(|evidence| {
                for kind in [EventType::TaskClaimed, EventType::TaskCompleted] {
                    let at = position(evidence, kind, "gpu-evaluate");
                    let mut early = evidence.kept.events.remove(at);
                    early.timestamp = NOON.plus(later);
                    let told = position(evidence, EventType::LeaseExpired, VICTIM);
                    evidence.kept.events.insert(told, early);
                }
            })
        };
        let what = "no agent ran more at once than it may";
        assert!(found(LEASE / 2).contains(&what));
        assert!(!found(LEASE).contains(&what));
    }

    #[test]
    fn a_passed_budget_is_found() {
        let found = failing(|evidence| {
            let audit = position(evidence, EventType::TaskCompleted, "audit-supply");
            let usage = json!({ "event": "job_ended", "tokens": 5_000, "refunded_tokens": 0 });
            let first = position(evidence, EventType::TaskCompleted, "audit-licences").min(audit);
            evidence.kept.events[first - 1].payload = Some(usage);
        });
        assert_eq!(found, ["no agent was given work over its daily limits"]);
    }

    #[test]
    fn retries_that_do_not_add_up_are_found() {
        let what = "every failed attempt was counted, and one task is a dead letter";
        assert_eq!(failing(|evidence| evidence.kept.tasks[0].retry_count += 1)[1..], [what]);
        let revived = failing(|evidence| {
            let dead = position(evidence, EventType::TaskDeadLettered, HOPELESS);
            evidence.kept.events[dead].kind = EventType::TaskCompleted;
        });
        assert_eq!(revived, [what]);
    }

    #[test]
    fn an_agent_that_was_not_killed_or_never_ran_out_is_found() {
        let killed = failing(|evidence| {
            let lost = position(evidence, EventType::LeaseExpired, VICTIM);
            evidence.kept.events.remove(lost);
        });
        assert_eq!(killed, ["the work of the killed agent was recovered"]);
        let rich = failing(|evidence| {
            let parked = position(evidence, EventType::DispatchFailedQuota, "audit-access");
            evidence.kept.events.remove(parked);
        });
        assert_eq!(rich, ["the agent without tokens waited until it had more"]);
        let midnight = failing(|evidence| {
            let parked = position(evidence, EventType::DispatchFailedQuota, "audit-access");
            evidence.kept.events.remove(parked);
            evidence.ended = NOON.plus(Duration::from_hours(12));
        });
        assert!(midnight.is_empty(), "a new day brings a new budget");
    }

    #[test]
    fn meters_that_differ_and_processes_that_stay_are_found() {
        let meters = ["the meters are the sum of what was charged"];
        let key = MeterKey { scope: Scope::Fleet, meter: Meter::Tokens, window: Window::Day };
        let differs = Difference { key, bucket: 0, meter: 1, entries: 2 };
        assert_eq!(failing(|evidence| evidence.kept.differences.push(differs)), meters);
        assert_eq!(failing(|evidence| evidence.kept.held = 1), meters);
        let left = ["no process is left"];
        assert_eq!(failing(|evidence| evidence.processes.1.push(7)), left);
        assert_eq!(failing(|evidence| evidence.processes.0 = 0), left);
        assert_eq!(failing(|evidence| evidence.wrong.push("it fell".into())), left);
    }
}
