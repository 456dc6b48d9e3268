//! What must hold of the left back end from one step to the next.

use std::collections::{BTreeMap, BTreeSet};

use agentic_core::{
    error::Result,
    event::EventId,
    id::TaskId,
    limit::Limit,
    port::{Admission, Ports},
    rpc::Call,
    task::Task,
};
use serde_json::Value;

use crate::invariants;

/// How many steps lie between two looks at everything.
const FULL_CHECK: usize = 16;

/// What was seen before, to hold the next step against.
#[derive(Debug, Default)]
pub(super) struct Watch {
    steps: usize,
    tasks: BTreeMap<TaskId, Task>,
    last_event: EventId,
    admissions: BTreeSet<String>,
}

impl Watch {
    /// Says what the step broke, if anything.
    ///
    /// # Errors
    /// What the ports answer.
    pub(super) async fn after(
        &mut self,
        left: &Ports,
        call: &Call,
        answer: &Result<Value>,
    ) -> Result<Option<String>> {
        self.steps += 1;
        let mut broken = Vec::new();
        let last_event = left.events.last().await?;
        if last_event < self.last_event || (answer.is_err() && last_event != self.last_event) {
            broken.push(format!("the log went from {} to {last_event}", self.last_event));
        }
        self.last_event = last_event;
        let tasks = invariants::all_tasks(left).await?;
        for task in &tasks {
            if let Some(before) = self.tasks.get(&task.id) {
                check_passage(before, task, &mut broken);
            }
        }
        self.tasks = tasks.into_iter().map(|task| (task.id.clone(), task)).collect();
        if answer.is_ok()
            && let Some(admission) = admission_of(call)
            && self.admissions.insert(admission.id.clone())
        {
            check_caps(left, admission, &mut broken).await?;
        }
        if self.steps.is_multiple_of(FULL_CHECK) {
            broken.extend(invariants::broken(left).await?);
        }
        Ok((!broken.is_empty()).then(|| broken.join("\n")))
    }
}

/// What no step may do to a task.
fn check_passage(before: &Task, after: &Task, broken: &mut Vec<String>) {
    if before.created_at != after.created_at {
        return; // It was pruned and created anew.
    }
    let rules = [
        (after.attempt >= before.attempt, "its fence went back"),
        (after.attempt <= before.attempt + 1, "its fence skipped an attempt"),
        (after.updated_at >= before.updated_at, "it grew younger"),
        (before.dependencies == after.dependencies, "its dependencies changed"),
        (
            before.status != agentic_core::task::TaskStatus::Completed || before.status == after.status,
            "it was completed, and is not any more",
        ),
        (after.retry_count <= before.retry_count + 1, "it burnt two retries at once"),
    ];
    let wrong = rules.iter().filter(|(holds, _)| !holds);
    broken.extend(wrong.map(|(_, rule)| format!("task {}: {rule}", after.id)));
}

fn admission_of(call: &Call) -> Option<&Admission> {
    match call {
        Call::AllowancesAdmit { admission } => Some(admission),
        Call::LedgerAssign { assign } => Some(&assign.admission),
        _ => None,
    }
}

/// Right after an admission, what is used and held is within every cap that it was held against.
async fn check_caps(left: &Ports, admission: &Admission, broken: &mut Vec<String>) -> Result<()> {
    let keys: Vec<_> = admission.limits.iter().map(|limit| limit.key.clone()).collect();
    let readings = left.allowances.readings(&keys, admission.now).await?;
    for (Limit { key, cap }, reading) in admission.limits.iter().zip(readings) {
        if cap.is_some_and(|cap| reading.used.get() + reading.reserved.get() > cap.get()) {
            broken.push(format!(
                "{key}: the admission of {} passed the cap {cap:?}: {reading:?}",
                admission.job
            ));
        }
    }
    Ok(())
}
