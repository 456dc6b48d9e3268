//! Shadow limits: evaluated, counted and told, never enforced.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Mutex, PoisonError},
};

use agentic_core::{
    amount::Amount,
    clock::Timestamp,
    error::Result,
    event::{EventType, NewEvent},
    id::{AgentId, TaskId},
    lane::Lane,
    limit::{Limit, MeterKey, Refusal, Window},
};
use serde_json::json;

use crate::{allowances::admit, fleet::Fleet};

/// How many lanes are remembered as told; beyond it they may be told once more.
const MAX_TOLD: usize = 10_000;

/// What shadow limits would have done, as far as this process has seen.
#[derive(Debug, Default)]
pub(crate) struct ShadowBook(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    refusals: BTreeMap<MeterKey, u64>,
    /// Lanes and limits that were told, until the limit has room for the lane again.
    told: HashSet<(Lane, MeterKey)>,
}

/// What the shadow limits of one job say before it is admitted: each limit, and its refusal where it has no room.
pub(crate) type Verdicts = Vec<(MeterKey, Option<Refusal>)>;

impl ShadowBook {
    /// How many admissions a shadow limit would have refused so far.
    pub(crate) fn would_refuse(&self, key: &MeterKey) -> u64 {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.refusals.get(&named(key)).copied().unwrap_or_default()
    }

    /// Counts what an admission met; answers with what was not told yet of this lane.
    fn count(&self, lane: &Lane, verdicts: Verdicts) -> Vec<Refusal> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut news = Vec::new();
        for (key, refusal) in verdicts {
            let key = named(&key);
            let place = (lane.clone(), key.clone());
            let Some(refusal) = refusal else {
                seen.told.remove(&place);
                continue;
            };
            *seen.refusals.entry(key).or_default() += 1;
            if seen.told.len() >= MAX_TOLD {
                seen.told.clear();
            }
            if seen.told.insert(place) {
                news.push(refusal);
            }
        }
        news
    }
}

impl Fleet {
    /// Evaluates shadow limits, before the admission that they would refuse. What cannot be read refuses nothing.
    pub(crate) async fn evaluate(&self, shadows: &[Limit], ask: Amount, now: Timestamp) -> Verdicts {
        if shadows.is_empty() {
            return Vec::new();
        }
        let keys: Vec<MeterKey> = shadows.iter().map(|limit| limit.key.clone()).collect();
        match self.ports().allowances.readings(&keys, now).await {
            Ok(readings) => {
                let verdict = |(limit, reading): (&Limit, _)| {
                    (limit.key.clone(), admit(limit, reading, ask).err().map(|refusal| *refusal))
                };
                shadows.iter().zip(&readings).map(verdict).collect()
            }
            Err(error) => {
                tracing::warn!(%error, "cannot evaluate shadow limits");
                Vec::new()
            }
        }
    }

    /// Counts what an admission met, and tells it once a lane and limit.
    pub(crate) async fn note_shadows(
        &self,
        lane: &Lane,
        task: &TaskId,
        agent: &AgentId,
        verdicts: Verdicts,
        now: Timestamp,
    ) {
        let event = |refusal: Refusal| {
            let payload =
                json!({ "lane": lane, "reason": refusal.to_string(), "refusal": refusal, "shadow": true });
            NewEvent::new(EventType::QuotaExceeded, now).task(task).agent(agent).payload(payload)
        };
        let events: Vec<NewEvent> = self.shadows().count(lane, verdicts).into_iter().map(event).collect();
        if events.is_empty() {
            return;
        }
        let told: Result<()> = self.ports().events.append(events.into()).await;
        if let Err(error) = told {
            tracing::warn!(%error, "cannot tell what a shadow limit would have refused");
        }
    }
}

/// The limit's name: an anchored window without its anchor.
fn named(key: &MeterKey) -> MeterKey {
    let window = match key.window {
        Window::Anchored { secs, .. } => Window::Anchored { secs, origin: 0 },
        window => window,
    };
    MeterKey { window, ..key.clone() }
}
