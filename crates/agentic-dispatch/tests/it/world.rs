//! A fleet on memory, with a clock that is moved by hand.

use std::{sync::Arc, time::Duration};

use agentic_core::{
    agent::{AgentInfo, AgentSpec},
    allowance::AgentAllowance,
    api::{CompleteTask, CreateTask, PatchTask},
    clock::{Clock, ManualClock, Timestamp},
    event::{Event, EventType},
    id::{AgentId, TaskId},
    memory::Memory,
    port::Ports,
    task::{Priority, Task, TaskStatus},
};
use agentic_dispatch::{Caller, DefaultAllowance, Dispatcher, Fleet, LeastLoaded, Policy};

pub(crate) struct World {
    pub(crate) fleet: Fleet,
    pub(crate) clock: ManualClock,
    pub(crate) dispatcher: Dispatcher,
}

pub(crate) const NOON: &str = "2026-03-04T12:00:00Z";

pub(crate) fn policy() -> Policy {
    Policy { default_allowance: Some(DefaultAllowance::default()), jitter_seed: Some(7), ..Policy::default() }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(policy())
    }

    pub(crate) fn with(policy: Policy) -> Self {
        Self::over(Memory::new().ports(), policy)
    }

    pub(crate) fn over(ports: Ports, policy: Policy) -> Self {
        Self::at(ports, policy, ManualClock::at(NOON.parse().unwrap()))
    }

    pub(crate) fn at(ports: Ports, policy: Policy, clock: ManualClock) -> Self {
        let fleet = Fleet::new(ports, Arc::new(clock.clone()), policy).unwrap();
        let dispatcher = fleet.dispatcher(Arc::new(LeastLoaded));
        Self { fleet, clock, dispatcher }
    }

    /// Another server of the same fleet, with a memory of its own; its dispatcher is past its start.
    pub(crate) fn of_another_server(&self) -> Self {
        let clock = self.clock.clone();
        clock.set(clock.now().minus(Duration::from_mins(1)));
        let other = Self::at(self.fleet.ports().clone(), self.fleet.policy().clone(), clock);
        self.clock.set(self.now().plus(Duration::from_mins(1)));
        other
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn pass(&self, secs: u64) {
        self.clock.advance(Duration::from_secs(secs));
    }

    pub(crate) async fn agent(&self, id: &str, capabilities: &[&str], max_load: u32) -> AgentInfo {
        let spec = AgentSpec {
            capabilities: capabilities.iter().map(|label| label.parse().unwrap()).collect(),
            max_load,
            ..AgentSpec::new(id.parse().unwrap())
        };
        self.fleet.agents().register(spec).await.unwrap()
    }

    pub(crate) async fn submit(&self, task: CreateTask) -> Task {
        self.fleet.tasks().create(vec![task], None).await.unwrap().remove(0).task
    }

    pub(crate) async fn task(&self, id: &TaskId) -> Task {
        self.fleet.tasks().get(id).await.unwrap()
    }

    /// Starts what was assigned to an agent, and answers with it.
    pub(crate) async fn start_assigned(&self, agent: &AgentInfo) -> Vec<Task> {
        let assigned =
            self.fleet.agents().assignments(&agent.id, agent.incarnation, Duration::ZERO).await.unwrap();
        let start = PatchTask { status: Some(TaskStatus::InProgress), ..PatchTask::default() };
        for task in &assigned {
            let start = PatchTask { attempt: Some(task.attempt), ..start.clone() };
            self.fleet.tasks().patch(&by(&agent.id), &task.id, &start).await.unwrap();
        }
        assigned
    }

    pub(crate) async fn complete(&self, task: &Task, success: bool) -> Task {
        let agent = task.claimed_by.clone().unwrap();
        let body = CompleteTask { success, attempt: Some(task.attempt), ..CompleteTask::default() };
        self.fleet.tasks().complete(&by(&agent), &task.id, body).await.unwrap()
    }

    pub(crate) async fn allow(&self, agent: &str, limit: impl FnOnce(&mut AgentAllowance)) {
        let mut allowance = AgentAllowance::unlimited(agent.parse().unwrap());
        limit(&mut allowance);
        self.fleet.allowances().set(allowance).await.unwrap();
    }

    pub(crate) async fn events(&self) -> Vec<Event> {
        self.fleet.ports().events.after(0, 10_000).await.unwrap().events
    }

    pub(crate) async fn count(&self, kind: EventType) -> usize {
        self.events().await.iter().filter(|event| event.kind == kind).count()
    }

    /// Moves time on and lets the reaper sweep as often as it would, so that it never finds the fleet unwatched.
    pub(crate) async fn pass_watched(&self, reaper: &agentic_dispatch::Reaper, secs: u64) {
        for _ in 0..secs {
            self.pass(1);
            reaper.sweep().await.unwrap();
        }
    }
}

pub(crate) fn by(agent: &AgentId) -> Caller {
    Caller::Agent(agent.clone())
}

pub(crate) fn titled(title: &str) -> CreateTask {
    CreateTask::new(title)
}

pub(crate) fn labelled(title: &str, labels: &[&str]) -> CreateTask {
    CreateTask {
        labels: labels.iter().map(|label| label.parse().unwrap()).collect(),
        ..CreateTask::new(title)
    }
}

pub(crate) fn urgent(title: &str, priority: Priority) -> CreateTask {
    CreateTask { priority, ..CreateTask::new(title) }
}
