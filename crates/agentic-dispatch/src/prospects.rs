//! What each agent could do about a task now: the dispatcher's look, without its step.

use std::collections::{BTreeMap, HashMap, HashSet};

use agentic_core::{
    agent::{AgentInfo, AgentStatus},
    amount::Amount,
    clock::Timestamp,
    error::Result,
    explain::{AgentVerdict, LimitState, Prospects, Standing},
    id::AgentId,
    lane::Lane,
    limit::{MeterKey, Reading, Refusal},
    task::Priority,
};

use crate::{
    allowances::admit,
    fleet::Fleet,
    limits::{LimitBook, Plan, Subject},
    router::{Need, Router, is_fit},
};

/// How many agents are asked first, in the router's order: where one of them has room, it is the one.
const FIRST: usize = 50;
/// How many more one read asks, in no order, while none has room.
const NEXT: usize = 250;
/// How many agents are asked at most.
const MOST: usize = 2_000;

/// The agents of a fleet at one moment, and what they are allowed.
#[derive(Debug)]
pub(crate) struct Outlook<'a> {
    fleet: &'a Fleet,
    router: &'a dyn Router,
    now: Timestamp,
    agents: Vec<AgentInfo>,
    skipped: HashSet<AgentId>,
    /// Those with an expired attempt, while they are heard first.
    unheard: HashSet<AgentId>,
    book: std::sync::Arc<LimitBook>,
}

/// What a task needs: what two tasks with the same need are told is the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Ask {
    pub(crate) lane: Lane,
    pub(crate) priority: Priority,
    pub(crate) tokens: Amount,
}

impl<'a> Outlook<'a> {
    /// Reads the agents with their loads, and the limits.
    pub(crate) async fn read(fleet: &'a Fleet, router: &'a dyn Router) -> Result<Self> {
        let now = fleet.now();
        Ok(Self {
            fleet,
            router,
            now,
            agents: fleet.agents().list().await?,
            skipped: fleet.skips(now).await?.into_keys().collect(),
            unheard: fleet.unheard(now).await?,
            book: fleet.limits().await?,
        })
    }

    /// Who could take what is asked; at most `shown` agents are told one by one.
    ///
    /// Agents are asked until it is certain whom the dispatcher would choose, or [`MOST`] were.
    pub(crate) async fn prospects(&self, ask: &Ask, shown: usize) -> Result<Prospects> {
        let mut all = Asked::default();
        let (mut open, mut barred) = (Vec::new(), Vec::new());
        for agent in &self.agents {
            match self.bar(&ask.lane, agent) {
                None => open.push(agent),
                Some(bar) => barred.push((agent, bar)),
            }
        }
        let count = FIRST.max(shown);
        let first = self.best(ask, &mut open, count);
        let routed = first.len() == count;
        self.ask(ask, first, &mut all).await?;
        while routed && all.takers.is_empty() && !open.is_empty() && all.refused.len() < MOST {
            let next = open.split_off(open.len().saturating_sub(NEXT));
            self.ask(ask, next, &mut all).await?;
        }
        // The first who were asked are in order already; others are not.
        let mut takers: Vec<&AgentInfo> = all.takers.iter().map(|(agent, _)| *agent).collect();
        let order = self.best(ask, &mut takers, shown.max(1));
        let mut told: Vec<AgentVerdict> = Vec::with_capacity(all.takers.len());
        for agent in order.iter().chain(&takers) {
            let verdict = all.takers.iter().find(|(taker, _)| taker.id == agent.id);
            told.extend(verdict.map(|(_, verdict)| verdict.clone()));
        }
        told.extend(all.refused);
        barred.sort_by(|(a, one), (b, other)| one.0.cmp(&other.0).then_with(|| a.id.cmp(&b.id)));
        for (agent, (standing, reason)) in barred {
            told.push(AgentVerdict { standing, reason: Some(reason), ..verdict(agent, &ask.lane) });
        }
        let mut others: BTreeMap<Standing, u64> = BTreeMap::new();
        for agent in told.split_off(shown.min(told.len())) {
            *others.entry(agent.standing).or_default() += 1;
        }
        if !open.is_empty() {
            others.insert(Standing::NotAsked, open.len() as u64);
        }
        Ok(Prospects { choice: order.first().map(|agent| agent.id.clone()), agents: told, others })
    }

    /// Takes the best out of `open`, in the order in which the dispatcher would try them.
    fn best<'s>(&self, ask: &Ask, open: &mut Vec<&'s AgentInfo>, count: usize) -> Vec<&'s AgentInfo> {
        let need = Need { lane: &ask.lane, priority: ask.priority };
        let mut best = Vec::new();
        while best.len() < count {
            let chosen = self.router.choose(&need, &mut open.iter().copied()).map(|agent| agent.id.clone());
            let Some(at) = chosen.and_then(|id| open.iter().position(|agent| agent.id == id)) else { break };
            best.push(open.swap_remove(at));
        }
        best
    }

    /// What keeps an agent out before any limit is asked, in words.
    fn bar(&self, lane: &Lane, agent: &AgentInfo) -> Option<(Standing, String)> {
        if !is_fit(lane, agent) {
            return Some(unfit(lane, agent));
        }
        if self.unheard.contains(&agent.id) {
            let why = "runs an expired attempt, and is to be heard first after an outage";
            return Some((Standing::Grace, why.to_owned()));
        }
        if self.skipped.contains(&agent.id) {
            return Some((
                Standing::Skipped,
                "did not start what it was given, and is left alone for a while".to_owned(),
            ));
        }
        (!agent.has_room()).then(|| {
            let why = format!("is at its max_load: {} of {}", agent.current_load, agent.max_load);
            (Standing::AtCapacity, why)
        })
    }

    /// Holds the ask against the limits of each of these agents, by one read.
    async fn ask<'s>(&self, ask: &Ask, agents: Vec<&'s AgentInfo>, all: &mut Asked<'s>) -> Result<()> {
        let asked = agents.iter().copied();
        let (plans, readings) = self.fleet.plans(&self.book, asked, &ask.lane, self.now).await?;
        for (agent, plan) in agents.into_iter().zip(plans) {
            let verdict = judged(verdict(agent, &ask.lane), &plan, &readings, ask.tokens);
            if verdict.standing == Standing::Fits {
                all.takers.push((agent, verdict));
            } else {
                all.refused.push(verdict);
            }
        }
        Ok(())
    }
}

/// The agents that were asked.
#[derive(Debug, Default)]
struct Asked<'a> {
    takers: Vec<(&'a AgentInfo, AgentVerdict)>,
    refused: Vec<AgentVerdict>,
}

/// A verdict before anything was asked.
fn verdict(agent: &AgentInfo, lane: &Lane) -> AgentVerdict {
    AgentVerdict {
        agent_id: agent.id.clone(),
        status: agent.status,
        current_load: agent.current_load,
        max_load: agent.max_load,
        model: Subject::of(agent, lane).model.cloned(),
        standing: Standing::Fits,
        reason: None,
        retry_at: None,
        limits: Vec::new(),
    }
}

/// The verdict of a plan's rule and of its limits: the first that refuses is told.
fn judged(
    verdict: AgentVerdict,
    plan: &Plan,
    readings: &HashMap<MeterKey, Reading>,
    ask: Amount,
) -> AgentVerdict {
    let mut limits = Vec::new();
    let mut refusal: Option<Refusal> = plan.rule.clone();
    let enforced = plan.limits.iter().map(|limit| (limit, false));
    for (limit, shadow) in enforced.chain(plan.shadows.iter().map(|limit| (limit, true))) {
        let (Some(cap), Some(reading)) = (limit.cap, readings.get(&limit.key)) else { continue };
        let refused = admit(limit, reading, ask).err();
        limits.push(LimitState {
            key: limit.key.clone(),
            used: reading.used,
            reserved: reading.reserved,
            asked: limit.key.meter.need(ask),
            cap,
            room: refused.is_none(),
            frees_at: match &refused {
                Some(refusal) => refusal.retry_at,
                None => reading.buckets.last().and_then(|(newest, _)| limit.key.window.frees_at(*newest)),
            },
            shadow,
        });
        if !shadow {
            refusal = refusal.or(refused.map(|refused| *refused));
        }
    }
    let standing = match &refusal {
        None => Standing::Fits,
        Some(refusal) if refusal.key.is_none() => Standing::Rule,
        Some(_) => Standing::Limit,
    };
    let retry_at = refusal.as_ref().and_then(|refusal| refusal.retry_at);
    AgentVerdict { standing, reason: refusal.map(|refusal| refusal.to_string()), retry_at, limits, ..verdict }
}

/// Why an agent does not fit.
fn unfit(lane: &Lane, agent: &AgentInfo) -> (Standing, String) {
    let missing: Vec<_> = lane.labels.difference(&agent.capabilities).map(ToString::to_string).collect();
    if !missing.is_empty() {
        return (Standing::Labels, format!("lacks {}", missing.join(", ")));
    }
    match &lane.model {
        Some(model) if !agent.can_use(Some(model)) => {
            (Standing::Model, format!("does not have model {model}"))
        }
        _ if agent.status == AgentStatus::Offline => (Standing::Offline, "is offline".to_owned()),
        _ => (Standing::Draining, "is draining".to_owned()),
    }
}
