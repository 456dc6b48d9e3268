//! Lanes as they stand in Redis.

use agentic_core::{
    clock::Timestamp,
    error::Result,
    id::TaskId,
    lane::{Head, LaneView, Park},
    limit::Scope,
    port::{Lanes, Wake},
    task::{PendingReason, Priority},
};

use crate::{
    args::Args,
    error::unreadable,
    reply::{Reply, misshapen},
};

/// A park from its text: scope, code, reason and time, a line each.
pub(crate) fn park(text: &str) -> Result<Park> {
    let parts: Vec<&str> = text.split('\n').collect();
    let [scope, _, reason, parked_at] = parts.as_slice() else {
        return Err(misshapen("a park has no four lines"));
    };
    let scope: Option<Scope> = (!scope.is_empty()).then(|| scope.parse()).transpose()?;
    let reason: PendingReason = serde_json::from_str(reason).map_err(unreadable)?;
    Ok(Park { reason, scope, parked_at: Timestamp::from_millis(parked_at.parse().map_err(unreadable)?) })
}

/// A head from its cells: id, rank, creation, attempt, estimate.
pub(crate) fn head(reply: &mut Reply) -> Result<Head> {
    let id: TaskId = reply.parse()?;
    let rank: usize = reply.parse()?;
    Ok(Head {
        id,
        priority: Priority::ALL.get(rank).copied().ok_or_else(|| misshapen("a priority is unknown"))?,
        created_at: reply.time()?,
        attempt: reply.parse()?,
        estimated_tokens: reply.parse()?,
    })
}

/// The lanes that have a ready task, in the order of their heads.
pub(crate) fn lanes(mut reply: Reply, limit: usize) -> Result<Lanes> {
    let wake = reply.parse()?;
    let mut views = Vec::new();
    for mut lane in reply.lists()? {
        let name = lane.parse()?;
        let head = head(&mut lane)?;
        let park = lane.maybe()?.map(|text| park(&text)).transpose()?;
        views.push(LaneView { lane: name, head, park });
    }
    views.sort_by(|a, b| {
        let order = |view: &LaneView| (view.head.priority, view.head.created_at, view.head.id.clone());
        order(a).cmp(&order(b))
    });
    views.truncate(limit);
    Ok(Lanes { views, wake })
}

/// What to wake, for a script.
pub(crate) fn woken(args: Args, wake: &Wake) -> Args {
    match wake {
        Wake::Lane(lane) => args.value("lane").value(lane),
        Wake::Scope(scope) => args.value("scope").value(scope),
        Wake::All => args.value("all").value(""),
    }
}
