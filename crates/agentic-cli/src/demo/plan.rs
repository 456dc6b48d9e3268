//! What the demo does: four agents, thirty tasks, and how each has to end.

use std::{collections::BTreeSet, time::Duration};

use agentic_core::{
    allowance::AgentAllowance,
    amount::Amount,
    api::CreateTask,
    error::Error,
    id::{AgentId, Label, TaskId},
    task::{Priority, TaskStatus},
};

use super::agent::Script;

/// The agent that is killed in the middle of [`VICTIM`], and started again.
pub(super) const KILLED: &str = "cyd";
/// The task that is interrupted.
pub(super) const VICTIM: &str = "gpu-train";
/// The agent that runs out of tokens, until its limit is raised.
pub(super) const SPENT: &str = "dan";
/// What [`SPENT`] may use at first, in tokens: less than its tasks need.
pub(super) const SPENT_TOKENS: Amount = Amount::saturating(1_000);
/// What it may use then.
pub(super) const RAISED_TOKENS: Amount = Amount::saturating(100_000);
/// The task that never succeeds.
pub(super) const HOPELESS: &str = "rust-flaky-forever";

/// The settings of the server and of the workers.
pub(super) const SETTINGS: &str = "\
# The demo's settings: everything goes faster than in earnest.
listen: 127.0.0.1:0
heartbeat: 1s
lease: 3s
agent_ttl: 3s
drain_grace: 3s
tick: 1s
backoff_base: 1s
backoff_cap: 2s
default_allowance: null
";

/// The lease of [`SETTINGS`].
pub(super) const LEASE: Duration = Duration::from_secs(3);

/// An agent of the demo.
#[derive(Debug, Clone)]
pub(super) struct PlannedAgent {
    pub(super) id: AgentId,
    pub(super) capabilities: BTreeSet<Label>,
    pub(super) max_load: u32,
    pub(super) allowance: AgentAllowance,
}

/// A task of the demo, and how it has to end.
#[derive(Debug, Clone)]
pub(super) struct PlannedTask {
    pub(super) id: TaskId,
    pub(super) create: CreateTask,
    pub(super) script: Script,
}

impl PlannedTask {
    /// How it has to end.
    pub(super) fn ends(&self) -> TaskStatus {
        if self.id.as_str() == HOPELESS { TaskStatus::Failed } else { TaskStatus::Completed }
    }

    /// So many of its attempts fail at least.
    pub(super) fn failures(&self) -> u32 {
        self.script.failures.min(self.create.max_retries.unwrap_or_default() + 1)
    }

    /// Half done, it waits until this file is there.
    fn waiting_for(mut self, file: &str) -> Self {
        self.script.waits_for = Some(file.to_owned());
        self
    }

    /// It fails so often.
    fn failing(mut self, times: u32, max_retries: u32) -> Self {
        self.script.failures = times;
        self.create.max_retries = Some(max_retries);
        self
    }
}

/// What the demo does.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) agents: Vec<PlannedAgent>,
    pub(super) tasks: Vec<PlannedTask>,
}

impl Plan {
    /// The plan; the same each time.
    ///
    /// # Errors
    /// None: it is tested that every name in it is valid.
    pub(super) fn new() -> Result<Self, Error> {
        let agents = vec![
            agent("ada", &["rust", "docs"], 2, |allowance| {
                allowance.daily_job_limit = Amount::saturating(60);
            })?,
            agent("bob", &["docs", "test"], 2, |allowance| allowance.concurrent_jobs = Amount::ONE)?,
            agent(KILLED, &["gpu"], 1, |allowance| allowance.max_job_duration_secs = 120)?,
            agent(SPENT, &["audit"], 1, |allowance| allowance.daily_token_limit = SPENT_TOKENS)?,
        ];
        Ok(Self { agents, tasks: tasks()? })
    }
}

fn agent(
    id: &str,
    capabilities: &[&str],
    max_load: u32,
    limit: impl FnOnce(&mut AgentAllowance),
) -> Result<PlannedAgent, Error> {
    let id: AgentId = id.parse()?;
    let mut allowance = AgentAllowance::unlimited(id.clone());
    limit(&mut allowance);
    let capabilities = capabilities.iter().map(|label| label.parse()).collect::<Result<_, _>>()?;
    Ok(PlannedAgent { id, capabilities, max_load, allowance })
}

/// What is the same for the tasks of one kind.
struct Kind {
    label: &'static str,
    script: Script,
}

impl Kind {
    fn task(&self, id: &str, priority: Priority, dependencies: &[&str]) -> Result<PlannedTask, Error> {
        let create = CreateTask {
            id: id.to_owned(),
            priority,
            labels: BTreeSet::from([self.label.parse()?]),
            dependencies: dependencies.iter().map(|id| id.parse()).collect::<Result<_, _>>()?,
            max_retries: Some(PATIENT),
            ..CreateTask::new(id.replace('-', " "))
        };
        Ok(PlannedTask { id: id.parse()?, create, script: self.script.clone() })
    }
}

/// The retries of a task that is to succeed: on a machine that is far too busy, leases run out on their own.
const PATIENT: u32 = 20;

const SHORT: Script = Script { steps: 3, step_millis: 60, step_tokens: 40, failures: 0, waits_for: None };

fn tasks() -> Result<Vec<PlannedTask>, Error> {
    use Priority::{Critical, High, Low, Normal};
    let docs = Kind { label: "docs", script: SHORT };
    let rust = Kind { label: "rust", script: Script { steps: 4, step_tokens: 60, ..SHORT } };
    let test = Kind { label: "test", script: SHORT };
    let audit = Kind { label: "audit", script: Script { steps: 4, step_tokens: 100, ..SHORT } };
    let gpu = Kind { label: "gpu", script: Script { steps: 6, ..SHORT } };
    let mut tasks = vec![
        docs.task("docs-readme", High, &[])?,
        docs.task("docs-tutorial", Normal, &[])?,
        docs.task("docs-reference", Normal, &[])?,
        docs.task("docs-changelog", Low, &["rust-release"])?,
        docs.task("docs-faq", Low, &[])?,
        docs.task("docs-glossary", Low, &[])?,
        docs.task("docs-api", Normal, &["rust-parser"])?,
        docs.task("docs-blog", Low, &["docs-changelog"])?,
        rust.task("rust-design", Critical, &[])?,
        rust.task("rust-lexer", High, &["rust-design"])?,
        rust.task("rust-parser", High, &["rust-design"])?,
        rust.task("rust-checker", Normal, &["rust-lexer", "rust-parser"])?,
        rust.task("rust-printer", Normal, &["rust-parser"])?,
        rust.task("rust-fuzz", Low, &["rust-parser"])?,
        rust.task("rust-release", High, &["rust-checker", "rust-printer", "test-parser"])?,
        test.task("test-lexer", Normal, &["rust-lexer"])?,
        test.task("test-parser", High, &["rust-parser"])?,
        test.task("test-smoke", Critical, &[])?,
        test.task("test-style", Low, &[])?,
        test.task("test-links", Low, &["docs-readme", "docs-tutorial"])?,
        audit.task("audit-licences", Normal, &[])?,
        audit.task("audit-secrets", High, &[])?,
        audit.task("audit-supply", Normal, &[])?,
        audit.task("audit-access", Low, &[])?,
        gpu.task(VICTIM, Critical, &[])?.waiting_for(KILLED),
        gpu.task("gpu-evaluate", Normal, &[VICTIM])?,
        docs.task("docs-flaky", Normal, &[])?.failing(1, PATIENT),
        test.task("test-flaky", Normal, &[])?.failing(1, PATIENT),
        rust.task("rust-flaky", Normal, &[])?.failing(2, PATIENT),
        rust.task(HOPELESS, Normal, &[])?.failing(u32::MAX, 1),
    ];
    for task in &mut tasks {
        task.create.description = serde_json::to_string(&task.script)
            .map_err(|error| Error::backend_from("writing a script of the demo", error))?;
    }
    Ok(tasks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_is_what_the_demo_promises() {
        assert!(SETTINGS.contains(&format!("\nlease: {}s\n", LEASE.as_secs())));
        let plan = Plan::new().unwrap();
        assert_eq!((plan.agents.len(), plan.tasks.len()), (4, 30));
        let distinct: BTreeSet<_> = plan.tasks.iter().map(|task| &task.id).collect();
        assert_eq!(distinct.len(), 30);
        let with = |wanted: Priority| plan.tasks.iter().any(|task| task.create.priority == wanted);
        assert!(Priority::ALL.into_iter().all(with), "every priority");
        assert_eq!(plan.tasks.iter().filter(|task| task.ends() == TaskStatus::Failed).count(), 1);
        assert_eq!(plan.tasks.iter().filter(|task| task.failures() > 0).count(), 4);
        for task in &plan.tasks {
            task.create.clone().into_new(|| task.id.clone()).unwrap().validate().unwrap();
            assert!(plan.agents.iter().any(|agent| task.create.labels.is_subset(&agent.capabilities)));
            assert_eq!(serde_json::from_str::<Script>(&task.create.description).unwrap(), task.script);
        }
    }

    #[test]
    fn one_agent_cannot_afford_its_tasks() {
        let plan = Plan::new().unwrap();
        let audits = plan.tasks.iter().filter(|task| task.id.as_str().starts_with("audit"));
        let needed: Vec<u64> =
            audits.map(|task| u64::from(task.script.steps) * task.script.step_tokens).collect();
        let without_last: u64 = needed.iter().skip(1).sum();
        assert!(without_last >= SPENT_TOKENS.get(), "the last one finds nothing left");
        assert!(needed.iter().sum::<u64>() < RAISED_TOKENS.get() / 4);
    }
}
