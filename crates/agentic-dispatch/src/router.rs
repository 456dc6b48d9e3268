//! Which agent gets a task.

use std::{cmp::Ordering, fmt};

use agentic_core::{
    agent::{AgentInfo, AgentStatus},
    id::AgentId,
    lane::Lane,
    task::{Priority, Task},
};

/// What a task needs of an agent.
#[derive(Debug, Clone, Copy)]
pub struct Need<'a> {
    /// Labels, model and project.
    pub lane: &'a Lane,
    /// How urgent.
    pub priority: Priority,
}

/// No registered agent fits a task, or all that fit are at capacity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no eligible agent")]
pub struct NoEligibleAgent;

/// Chooses an agent.
pub trait Router: fmt::Debug + Send + Sync + 'static {
    /// Chooses among `agents`, whose `current_load` is filled in; `None` when none is eligible.
    fn choose<'a>(
        &self,
        need: &Need<'_>,
        agents: &mut dyn Iterator<Item = &'a AgentInfo>,
    ) -> Option<&'a AgentInfo>;

    /// Chooses for a whole task.
    ///
    /// # Errors
    /// [`NoEligibleAgent`].
    fn route(&self, task: &Task, agents: &[AgentInfo]) -> Result<AgentId, NoEligibleAgent> {
        let need = Need { lane: &task.lane(), priority: task.priority };
        self.choose(&need, &mut agents.iter()).map(|agent| agent.id.clone()).ok_or(NoEligibleAgent)
    }
}

/// The default router (design §8): labels ⊆ capabilities, a model that the agent has, alive and not draining, with room
/// under `max_load`; then the lowest load — absolute for critical tasks, relative to `max_load` for others — and the
/// lowest id.
#[derive(Debug, Clone, Copy, Default)]
pub struct LeastLoaded;

impl Router for LeastLoaded {
    fn choose<'a>(
        &self,
        need: &Need<'_>,
        agents: &mut dyn Iterator<Item = &'a AgentInfo>,
    ) -> Option<&'a AgentInfo> {
        agents.filter(|agent| is_fit(need.lane, agent) && agent.has_room()).min_by(|a, b| {
            let load = if need.priority == Priority::Critical {
                a.current_load.cmp(&b.current_load)
            } else {
                relative(a, b)
            };
            load.then_with(|| a.id.cmp(&b.id))
        })
    }
}

/// Whether the agent could ever take the lane's tasks as it is now, room aside.
pub(crate) fn is_fit(lane: &Lane, agent: &AgentInfo) -> bool {
    agent.status != AgentStatus::Offline
        && !agent.draining
        && lane.labels.is_subset(&agent.capabilities)
        && agent.can_use(lane.model.as_ref())
}

/// `current_load / max_load` without floats; an unlimited agent counts as 0.
fn relative(a: &AgentInfo, b: &AgentInfo) -> Ordering {
    let parts = |agent: &AgentInfo| match agent.max_load {
        0 => (0, 1),
        max => (u64::from(agent.current_load), u64::from(max)),
    };
    let ((load_a, max_a), (load_b, max_b)) = (parts(a), parts(b));
    (load_a * max_b).cmp(&(load_b * max_a))
}

#[cfg(test)]
mod tests {
    use agentic_core::{clock::Timestamp, task::NewTask};

    use super::*;

    fn agent(id: &str, load: u32, max_load: u32) -> AgentInfo {
        AgentInfo {
            id: id.parse().unwrap(),
            name: String::new(),
            capabilities: ["go", "rust"].into_iter().map(|label| label.parse().unwrap()).collect(),
            models: vec![],
            status: AgentStatus::Available,
            draining: false,
            last_heartbeat: Timestamp::EPOCH,
            current_load: load,
            max_load,
            registered_at: Timestamp::EPOCH,
            incarnation: 1,
        }
    }

    fn task(priority: Priority, labels: &[&str]) -> Task {
        let new = NewTask::new("t".parse().unwrap(), "x");
        let labels = labels.iter().map(|label| label.parse().unwrap()).collect();
        NewTask { priority, labels, ..new }.into_task(Timestamp::EPOCH)
    }

    fn routed(task: &Task, agents: &[AgentInfo]) -> Option<String> {
        LeastLoaded.route(task, agents).ok().map(|id| id.to_string())
    }

    #[test]
    fn labels_must_be_among_the_capabilities() {
        let agents = [agent("a", 0, 1)];
        assert_eq!(routed(&task(Priority::Normal, &["go"]), &agents).as_deref(), Some("a"));
        assert_eq!(routed(&task(Priority::Normal, &["go", "sql"]), &agents), None);
        assert_eq!(LeastLoaded.route(&task(Priority::Normal, &["sql"]), &agents), Err(NoEligibleAgent));
    }

    #[test]
    fn the_model_must_be_one_of_the_agents() {
        let mut with_models = agent("a", 0, 1);
        with_models.models = vec!["m1".parse().unwrap()];
        let mut wants = task(Priority::Normal, &[]);
        wants.model = Some("m2".parse().unwrap());
        assert_eq!(routed(&wants, &[with_models.clone()]), None);
        wants.model = Some("m1".parse().unwrap());
        assert_eq!(routed(&wants, &[with_models]).as_deref(), Some("a"));
        assert_eq!(routed(&wants, &[agent("any", 0, 1)]).as_deref(), Some("any"), "no models = any");
    }

    #[test]
    fn the_relatively_least_loaded_wins() {
        let agents = [agent("a-small", 1, 2), agent("b-big", 4, 10)];
        assert_eq!(routed(&task(Priority::Normal, &[]), &agents).as_deref(), Some("b-big"));
    }

    #[test]
    fn critical_tasks_look_at_absolute_load() {
        let agents = [agent("small", 1, 2), agent("big", 4, 10)];
        assert_eq!(routed(&task(Priority::Critical, &[]), &agents).as_deref(), Some("small"));
    }

    #[test]
    fn an_unlimited_agent_counts_as_idle_unless_critical() {
        let agents = [agent("z-unlimited", 50, 0), agent("a", 1, 9)];
        assert_eq!(routed(&task(Priority::Normal, &[]), &agents).as_deref(), Some("z-unlimited"));
        assert_eq!(routed(&task(Priority::Critical, &[]), &agents).as_deref(), Some("a"));
    }

    #[test]
    fn ties_go_to_the_lowest_id() {
        let agents = [agent("b", 1, 2), agent("a", 2, 4), agent("c", 1, 2)];
        assert_eq!(routed(&task(Priority::Low, &[]), &agents).as_deref(), Some("a"));
    }

    #[test]
    fn nobody_at_capacity_offline_or_draining() {
        let full = agent("a", 2, 2);
        let offline = AgentInfo { status: AgentStatus::Offline, ..agent("b", 0, 2) };
        let draining = AgentInfo { draining: true, ..agent("c", 0, 2) };
        let busy = AgentInfo { status: AgentStatus::Busy, ..agent("d", 1, 2) };
        assert_eq!(routed(&task(Priority::Critical, &[]), &[full.clone(), offline, draining]), None);
        assert_eq!(
            routed(&task(Priority::Normal, &[]), &[full, busy]).as_deref(),
            Some("d"),
            "busy with room"
        );
    }
}
