//! Lanes as they stand in Redis.

use std::collections::HashMap;

use agentic_core::{
    clock::Timestamp,
    error::Result,
    id::TaskId,
    lane::{Head, Lane, LaneView, Park},
    limit::Scope,
    port::{Lanes, Wake},
    task::{PendingReason, Priority},
};

use crate::{
    args::Args,
    error::unreadable,
    reply::{Reply, misshapen},
    script,
    store::RedisStore,
    tasks::{following, place},
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

/// How many lanes one step reads.
const STEP: usize = 100;

impl RedisStore {
    /// The lanes that have a ready task, in the order of their heads, read in bounded steps.
    ///
    /// The number of wake-ups is the one before the first step: a lane that is woken between two of them is not parked by
    /// who goes by this. A lane whose head changed meanwhile may be met twice, and shows the later one; one that moved to
    /// before the place of the walk is missed, as one is that a single step would have come too early for.
    pub(crate) async fn lanes_in_order(&self, limit: usize) -> Result<Lanes> {
        let (mut views, mut wake, mut last) = (HashMap::new(), None, None);
        loop {
            let args = following(Args::timeless(), &last).value(STEP.min(limit.saturating_add(1)));
            let mut reply = self.ask(&script::LANES, args).await?;
            last = place(&mut reply)?;
            let woken = reply.parse()?;
            let wake = *wake.get_or_insert(woken);
            let mut furthest = None;
            for mut lane in reply.lists()? {
                let name: Lane = lane.parse()?;
                let head = head(&mut lane)?;
                let park = lane.maybe()?.map(|text| park(&text)).transpose()?;
                furthest = Some((head.priority, head.created_at));
                views.insert(name.clone(), LaneView { lane: name, head, park });
            }
            // Of heads that are equally old, the id decides, which the order of the walk does not know.
            let passed = |view: &&LaneView| Some((view.head.priority, view.head.created_at)) < furthest;
            if last.is_none() || (views.len() > limit && views.values().filter(passed).count() >= limit) {
                let mut views: Vec<LaneView> = views.into_values().collect();
                views.sort_by(|a, b| {
                    let order =
                        |view: &LaneView| (view.head.priority, view.head.created_at, view.head.id.clone());
                    order(a).cmp(&order(b))
                });
                views.truncate(limit);
                return Ok(Lanes { views, wake });
            }
        }
    }
}

/// What to wake, for a script.
pub(crate) fn woken(args: Args, wake: &Wake) -> Args {
    match wake {
        Wake::Lane(lane) => args.value("lane").value(lane),
        Wake::Scope(scope) => args.value("scope").value(scope),
        Wake::All => args.value("all").value(""),
    }
}
