//! Tells the server what a running command reports.

use std::{convert::Infallible, future};

use agentic_core::{
    allowance::{UsageEvent, UsageReport},
    api::PatchTask,
    error::Result,
    id::{AgentId, JobId},
    usage::Figures,
};
use tokio::{sync::watch, time::sleep};

use crate::{
    api::{Api, CALL, bounded, pauses, worth_retrying},
    order::{Order, Orders},
    report::Standing,
};

/// Tells every change of `standing` as it comes, the latest only, and again until the server has it. What the server
/// answers becomes an order.
pub(crate) async fn relay(
    api: &dyn Api,
    agent: &AgentId,
    job: &JobId,
    orders: &watch::Sender<Orders>,
    mut standing: watch::Receiver<Standing>,
) -> Infallible {
    let mut told = Standing::default();
    let mut pause = pauses();
    loop {
        let latest = standing.borrow_and_update().clone();
        let result = async {
            tell_usage(api, agent, job, orders, &told, &latest).await?;
            tell_progress(api, job, &told, &latest).await
        };
        match result.await {
            Err(error) if worth_retrying(&error) => {
                tracing::warn!(%job, %error, "could not report; trying again");
                sleep(pause.next().unwrap_or(CALL)).await;
                continue;
            }
            // Who has lost the attempt learns it from the next heartbeat.
            Err(error) => tracing::warn!(%job, %error, "a report was refused"),
            Ok(()) => {}
        }
        told = latest;
        pause = pauses();
        if standing.changed().await.is_err() {
            return future::pending().await;
        }
    }
}

async fn tell_usage(
    api: &dyn Api,
    agent: &AgentId,
    job: &JobId,
    orders: &watch::Sender<Orders>,
    told: &Standing,
    latest: &Standing,
) -> Result<()> {
    if latest.figures == told.figures && latest.resets_at == told.resets_at {
        return Ok(());
    }
    let report = usage_report(agent, job, latest.figures, UsageEvent::JobProgress);
    // Said once: whoever lifts the hold that it makes is not contradicted by the next report.
    let resets_at = latest.resets_at.filter(|_| latest.resets_at != told.resets_at);
    let report = UsageReport { resets_at, ..report };
    let answer = bounded(CALL, api.report_usage(&report)).await?;
    let reason = answer.reason.as_deref();
    orders.send_modify(|orders| {
        orders.remaining = answer.remaining_tokens;
        orders.heed(Order::new(answer.directive, reason), reason);
    });
    Ok(())
}

async fn tell_progress(api: &dyn Api, job: &JobId, told: &Standing, latest: &Standing) -> Result<()> {
    let progress = latest.progress.filter(|_| latest.progress != told.progress);
    let notes = latest.notes.clone().filter(|_| latest.notes != told.notes);
    if progress.is_none() && notes.is_none() {
        return Ok(());
    }
    let patch = PatchTask { progress, notes, attempt: Some(job.attempt), ..PatchTask::default() };
    bounded(CALL, api.patch_task(&job.task, &patch)).await.map(drop)
}

/// What a job used so far, as a report.
pub(crate) fn usage_report(agent: &AgentId, job: &JobId, figures: Figures, event: UsageEvent) -> UsageReport {
    UsageReport::new(agent.clone(), job.clone(), event).with(figures)
}
