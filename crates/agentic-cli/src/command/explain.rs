//! `agentic explain`, `agentic lanes`, and what a dry run tells.

use agentic_core::{
    explain::{AgentVerdict, Explanation, LimitState, Prospects, Standing},
    id::TaskId,
    lane::Lane,
    task::PendingReason,
};

use crate::{
    args::ExplainArgs,
    failure::Failure,
    output::{Printer, Table, figure, meter_key, or_dash},
    session::Session,
};

/// Says what a task's state means, or why nothing moves in a lane, agent by agent.
pub(crate) async fn explain(session: &Session, args: ExplainArgs) -> Result<(), Failure> {
    match (args.task, args.lane) {
        (Some(task), _) => of_task(session, &task, args.agents).await,
        (None, Some(lane)) => of_lane(session, &lane, args.agents).await,
        (None, None) => Err(Failure::usage("a task or --lane is missing")),
    }
}

async fn of_task(session: &Session, id: &TaskId, agents: usize) -> Result<(), Failure> {
    let explanation = session.client()?.explain(id, agents).await?;
    if session.printer.is_json {
        return session.printer.json(&explanation);
    }
    let task = &explanation.task;
    session.printer.line(&format!("{} is {}", task.id, task.status))?;
    told(session.printer, &explanation)
}

async fn of_lane(session: &Session, lane: &Lane, agents: usize) -> Result<(), Failure> {
    let explanation = session.client()?.explain_lane(lane, agents).await?;
    if session.printer.is_json {
        return session.printer.json(&explanation);
    }
    let head = or_dash(explanation.head.as_ref());
    session.printer.line(&format!("lane {lane}, first task {head}"))?;
    reasons(session.printer, &explanation.because)?;
    prospects(session.printer, &explanation.prospects)
}

/// Shows the lanes that have a ready task.
pub(crate) async fn lanes(session: &Session) -> Result<(), Failure> {
    let lanes = session.client()?.lanes().await?;
    if session.printer.is_json {
        return session.printer.json(&lanes);
    }
    if lanes.is_empty() {
        session.printer.note("no task is ready to be dispatched");
        return Ok(());
    }
    let mut table = Table::new(&["LANE", "FIRST TASK", "PARKED", "WHY", "UNTIL"]);
    for body in lanes {
        let lane = Lane { labels: body.labels, model: body.model, project: body.project };
        let parked = body.parked;
        table.row([
            lane.to_string(),
            body.head.to_string(),
            or_dash(parked.as_ref().map(|reason| &reason.code)),
            or_dash(parked.as_ref().map(|reason| &reason.detail)),
            or_dash(parked.and_then(|reason| reason.retry_at)),
        ]);
    }
    session.printer.table(table)
}

/// Why a task is where it is, and who could take it.
pub(super) fn told(printer: Printer, explanation: &Explanation) -> Result<(), Failure> {
    reasons(printer, &explanation.because)?;
    explanation.prospects.as_ref().map_or(Ok(()), |found| prospects(printer, found))
}

fn reasons(printer: Printer, because: &[PendingReason]) -> Result<(), Failure> {
    for reason in because {
        printer.line(&format!("  {}", words(reason)))?;
    }
    Ok(())
}

/// A reason in one line.
pub(super) fn words(reason: &PendingReason) -> String {
    let until = reason.retry_at.map_or_else(String::new, |at| format!("; until {at}"));
    format!("{}: {}{until}", reason.code, reason.detail)
}

fn prospects(printer: Printer, found: &Prospects) -> Result<(), Failure> {
    if found.agents.is_empty() && found.others.is_empty() {
        printer.note("no agent is registered: start one with `agentic worker`");
        return Ok(());
    }
    match &found.choice {
        Some(agent) => printer.line(&format!("{agent} would get it now"))?,
        None if found.others.contains_key(&Standing::NotAsked) => {
            printer.line("none of the agents that were asked can take it now")?;
        }
        None => printer.line("nobody can take it now")?,
    }
    let mut table = Table::new(&["AGENT", "STATUS", "LOAD", "STANDING", "WHY NOT", "NEXT LOOK"]);
    for agent in &found.agents {
        let most = if agent.max_load == 0 { "unlimited".to_owned() } else { agent.max_load.to_string() };
        table.row([
            agent.agent_id.to_string(),
            agent.status.to_string(),
            format!("{}/{most}", agent.current_load),
            agent.standing.to_string(),
            or_dash(agent.reason.as_ref()),
            or_dash(agent.retry_at),
        ]);
    }
    if !table.is_empty() {
        printer.raw("")?;
        printer.table(table)?;
    }
    limits(printer, &found.agents)?;
    if !found.others.is_empty() {
        let count: u64 = found.others.values().sum();
        let each: Vec<String> =
            found.others.iter().map(|(standing, count)| format!("{count} {standing}")).collect();
        printer.line(&format!("and {count} more: {}", each.join(", ")))?;
    }
    Ok(())
}

/// What each agent that was asked is held against; a limit that many share stands once.
fn limits(printer: Printer, agents: &[AgentVerdict]) -> Result<(), Failure> {
    let mut table = Table::new(&["LIMIT", "USED", "RESERVED", "ASKED", "CAP", "ROOM", "FREES AT"]);
    let mut shown: Vec<&LimitState> = Vec::new();
    for limit in agents.iter().flat_map(|agent| &agent.limits) {
        if shown.contains(&limit) {
            continue;
        }
        shown.push(limit);
        let amount = |amount| figure(limit.key.meter, amount);
        table.row([
            meter_key(&limit.key),
            amount(limit.used),
            amount(limit.reserved),
            amount(limit.asked),
            amount(limit.cap),
            match (limit.room, limit.shadow) {
                (true, _) => "yes",
                (false, true) => "no (shadow)",
                (false, false) => "no",
            }
            .to_owned(),
            or_dash(limit.frees_at),
        ]);
    }
    if table.is_empty() {
        return Ok(());
    }
    printer.raw("")?;
    printer.table(table)
}
