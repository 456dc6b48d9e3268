//! What the event log of a fleet must tell, whatever happened to its servers.

use std::collections::{BTreeMap, BTreeSet};

use agentic_core::{
    clock::Timestamp,
    event::{Event, EventId, EventType},
    id::{AgentId, TaskId},
};

/// Where a task is, by its events.
#[derive(Debug, Clone, PartialEq)]
enum State {
    Waiting,
    Running(AgentId),
    /// Its lease ran out; the same attempt may still complete it, until the next begins.
    Lapsed,
    Completed,
}

/// A log that is read event by event; it panics at the first that cannot be.
#[derive(Debug)]
pub(crate) struct Replay {
    max_load: usize,
    lease_millis: i64,
    last: EventId,
    /// By task, its state and its latest attempt.
    tasks: BTreeMap<TaskId, (State, u64)>,
    /// By agent, what it runs and since when.
    running: BTreeMap<AgentId, BTreeMap<TaskId, Timestamp>>,
    started: BTreeSet<(TaskId, u64)>,
    /// By agent and UTC day, the jobs that it started.
    pub(crate) jobs: BTreeMap<(AgentId, i64), u64>,
    pub(crate) completed: usize,
    /// Attempts that ended otherwise than by their completion.
    pub(crate) lost: usize,
}

impl Replay {
    /// A log in which no agent may hold more than `max_load` leases that live.
    pub(crate) fn new(max_load: usize, lease: std::time::Duration) -> Self {
        Self {
            max_load,
            lease_millis: i64::try_from(lease.as_millis()).unwrap(),
            last: 0,
            tasks: BTreeMap::new(),
            running: BTreeMap::new(),
            started: BTreeSet::new(),
            jobs: BTreeMap::new(),
            completed: 0,
            lost: 0,
        }
    }

    /// How many jobs of tasks whose name begins so were started.
    pub(crate) fn started(&self, name: &str) -> usize {
        self.started.iter().filter(|(task, _)| task.as_str().starts_with(name)).count()
    }

    /// The tasks that are not completed.
    pub(crate) fn open(&self) -> Vec<&TaskId> {
        let open = self.tasks.iter().filter(|(_, (state, _))| *state != State::Completed);
        open.map(|(task, _)| task).collect()
    }

    pub(crate) fn read(&mut self, event: &Event) {
        assert!(event.id > self.last, "event {} after {}", event.id, self.last);
        self.last = event.id;
        let Some(task) = event.task_id.clone() else { return };
        let payload = event.payload.clone().unwrap_or_default();
        if event.kind == EventType::TaskCreated {
            assert!(self.tasks.insert(task, (State::Waiting, 0)).is_none(), "created twice: {event:?}");
            return;
        }
        let (state, latest) = self.tasks.get(&task).cloned().unwrap_or_else(|| panic!("unknown: {event:?}"));
        let attempt = payload["attempt"].as_u64();
        let next = match event.kind {
            EventType::TaskClaimed => {
                assert!(
                    matches!(state, State::Waiting | State::Lapsed),
                    "claimed while {state:?}: {event:?}"
                );
                assert_eq!(attempt, Some(latest + 1), "{event:?}");
                let agent = event.agent_id.clone().unwrap();
                self.take(&agent, &task, event.timestamp);
                self.tasks.insert(task, (State::Running(agent), latest + 1));
                return;
            }
            EventType::UsageRecorded => {
                if payload["event"] == "job_started" {
                    self.start(event, &task, &payload["job_id"]);
                }
                return;
            }
            EventType::TaskCompleted => {
                assert!(
                    matches!(state, State::Running(_) | State::Lapsed),
                    "completed while {state:?}: {event:?}"
                );
                self.completed += 1;
                State::Completed
            }
            EventType::TaskReleased | EventType::TaskRetryScheduled => State::Waiting,
            EventType::LeaseExpired => State::Lapsed,
            EventType::TaskDeadLettered | EventType::TaskCancelled => {
                panic!("nobody asked for it: {event:?}")
            }
            _ => return,
        };
        assert_eq!(attempt, Some(latest), "of the attempt that runs: {event:?}");
        if let State::Running(agent) = &state {
            self.running.get_mut(agent).unwrap().remove(&task);
            self.lost += usize::from(next != State::Completed);
        } else if next == State::Waiting {
            // What follows the end of a lease in its own step.
            assert_eq!(state, State::Lapsed, "{event:?}");
            return;
        }
        self.tasks.insert(task, (next, latest));
    }

    /// An agent's places are its reservations that have not run out at the moment of the next admission.
    fn take(&mut self, agent: &AgentId, task: &TaskId, now: Timestamp) {
        let held = self.running.entry(agent.clone()).or_default();
        held.insert(task.clone(), now);
        let live = held.values().filter(|since| since.millis() + self.lease_millis > now.millis()).count();
        assert!(live <= self.max_load, "{agent} holds {live} at event {}", self.last);
    }

    fn start(&mut self, event: &Event, task: &TaskId, job: &serde_json::Value) {
        let number = job.as_str().and_then(|job| job.rsplit_once('#')?.1.parse().ok()).unwrap();
        assert!(self.started.insert((task.clone(), number)), "started twice: {event:?}");
        let day = event.timestamp.millis() / 86_400_000;
        *self.jobs.entry((event.agent_id.clone().unwrap(), day)).or_default() += 1;
    }
}
