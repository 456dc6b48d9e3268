//! The fleet at a glance.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::{
    agent::{AgentInfo, AgentStatus},
    amount::Amount,
    id::AgentId,
    task::TaskStatus,
};

/// What `status` prints.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StatusSummary {
    /// All agents, ascending by id.
    pub agents: Vec<AgentInfo>,
    /// How many tasks are in each status; statuses without a task are absent.
    pub tasks: BTreeMap<TaskStatus, u64>,
    /// Tokens left today by agent; an agent without a daily limit is absent.
    pub allowance_remaining: BTreeMap<AgentId, Amount>,
}

impl fmt::Display for StatusSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let agents = |status| self.agents.iter().filter(|agent| agent.status == status).count();
        write!(f, "Agents:")?;
        for (i, status) in AgentStatus::ALL.into_iter().enumerate() {
            write!(f, "{} {} {status}", if i == 0 { "" } else { "," }, agents(status))?;
        }
        write!(f, "\nTasks: ")?;
        for (i, status) in TaskStatus::ALL.into_iter().enumerate() {
            let count = self.tasks.get(&status).unwrap_or(&0);
            write!(f, "{} {count} {status}", if i == 0 { "" } else { "," })?;
        }
        writeln!(f)?;
        if self.agents.is_empty() {
            return Ok(());
        }
        let width =
            self.agents.iter().map(|agent| agent.id.as_str().len()).max().unwrap_or(0).max("AGENT".len());
        writeln!(f, "\n{:width$}  {:9}  {:>9}  REMAINING TOKENS", "AGENT", "STATUS", "LOAD")?;
        for agent in &self.agents {
            let max = if agent.max_load == 0 { "unlimited".to_owned() } else { agent.max_load.to_string() };
            let load = format!("{}/{max}", agent.current_load);
            let left =
                self.allowance_remaining.get(&agent.id).map_or("unlimited".to_owned(), ToString::to_string);
            let draining = if agent.draining { "  (draining)" } else { "" };
            writeln!(f, "{:width$}  {:9}  {load:>9}  {left}{draining}", agent.id, agent.status)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{agent::AgentSpec, clock::Timestamp, port::Register};

    #[test]
    fn the_table_tells_load_and_what_is_left() {
        let spec = AgentSpec { max_load: 2, ..AgentSpec::new("a1".parse().unwrap()) };
        let register = Register { agent: spec, now: Timestamp::EPOCH };
        let memory = crate::memory::Memory::new().ports();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut agent = runtime.block_on(memory.agents.register(register)).unwrap();
        agent.current_load = 1;
        agent.status = AgentStatus::Busy;
        let mut summary = StatusSummary { agents: vec![agent], ..StatusSummary::default() };
        summary.tasks.insert(TaskStatus::Pending, 3);
        let text = summary.to_string();
        assert!(text.contains("0 available, 1 busy, 0 offline"), "{text}");
        assert!(text.contains("3 pending"), "{text}");
        assert!(text.lines().last().unwrap().contains("1/2  unlimited"), "{text}");
        summary.allowance_remaining.insert("a1".parse().unwrap(), 42u32.into());
        assert!(summary.to_string().lines().last().unwrap().ends_with("42"));
    }
}
