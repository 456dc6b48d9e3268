//! The agents during a tick, and the limits that were found without room: a refusal drops all agents under that limit
//! (design §8).

use std::{collections::HashMap, sync::Arc};

use agentic_core::{
    agent::AgentInfo,
    amount::Amount,
    clock::Timestamp,
    error::Result,
    id::AgentId,
    lane::Lane,
    limit::{Limit, Meter, MeterKey, Reading, Refusal, Scope},
    task::PendingReason,
};

use crate::{
    allowances::admit,
    fleet::Fleet,
    limits::{LimitBook, Plan, Subject},
    router::is_fit,
};

/// How many agents one read asks.
const ASKED: usize = 250;

/// The agents that can be given work during a tick.
#[derive(Debug)]
pub(crate) struct Pool {
    members: Vec<Member>,
    pub(crate) book: Arc<LimitBook>,
    /// The limits of several agents that have no room, each with the ask that they refused.
    shared: Vec<Arc<Refusal>>,
    /// Whether anybody was refused yet: until then there is nothing to look for at 10,000 agents for each task.
    refused: bool,
}

/// An agent during a tick.
#[derive(Debug)]
struct Member {
    info: AgentInfo,
    /// The limits of its own that have no room.
    own: Vec<Arc<Refusal>>,
    /// What keeps the task that is being placed from it.
    refused: Option<Arc<Refusal>>,
}

/// A task that is being placed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) lane: &'a Lane,
    pub(crate) tokens: Amount,
}

/// Limits refused everybody who fits and has room.
#[derive(Debug)]
pub(crate) struct Refused {
    /// The refusal that is told; of several the first that is for the ask itself, in the order of the agents.
    pub(crate) told: Refusal,
    /// Somebody would take a smaller ask.
    pub(crate) for_itself: bool,
    /// Somebody may take it, or a smaller ask, at any moment.
    pub(crate) soon: bool,
    /// When the first of the limits has room, where that is known.
    pub(crate) retry_at: Option<Timestamp>,
}

impl Pool {
    /// Reads the agents that can be given work now, with their loads.
    pub(crate) async fn read(fleet: &Fleet, now: Timestamp) -> Result<Self> {
        let ports = fleet.ports();
        let (mut agents, skipped) = tokio::try_join!(ports.agents.list(), fleet.skips(now))?;
        let unheard = fleet.unheard(now).await?;
        let is_silent = |id: &AgentId| skipped.contains_key(id) || unheard.contains(id);
        agents.retain(|agent| is_fit(&Lane::default(), agent) && !is_silent(&agent.id));
        let ids: Vec<AgentId> = agents.iter().map(|agent| agent.id.clone()).collect();
        for (agent, load) in agents.iter_mut().zip(ports.allowances.active_jobs(&ids, now).await?) {
            agent.set_load(load);
        }
        let member = |info| Member { info, own: Vec::new(), refused: None };
        let members = agents.into_iter().map(member).collect();
        Ok(Self { members, book: fleet.limits().await?, shared: Vec::new(), refused: false })
    }

    /// Begins with a task: what is known to keep it from agents keeps it from them.
    pub(crate) fn begin(&mut self, wanted: Wanted<'_>) {
        if !self.refused {
            return;
        }
        let shared: Vec<&Arc<Refusal>> =
            self.shared.iter().filter(|refusal| refuses(refusal, wanted)).collect();
        for member in &mut self.members {
            let own = member.own.iter().filter(|refusal| refuses(refusal, wanted));
            let mut known = own.chain(shared.iter().copied());
            member.refused = known.find(|refusal| is_under(&member.info, refusal, wanted.lane)).cloned();
        }
    }

    /// The agents that nothing is known to keep the task from; which of them fit is the router's to say.
    pub(crate) fn open(&self) -> impl Iterator<Item = &AgentInfo> {
        self.members.iter().filter(|member| member.refused.is_none()).map(|member| &member.info)
    }

    /// Notes that an agent got the task.
    pub(crate) fn gave(&mut self, id: &AgentId) {
        if let Some(member) = self.members.iter_mut().find(|member| member.info.id == *id) {
            let load = member.info.current_load.saturating_add(1);
            member.info.set_load(load);
        }
    }

    /// Notes that an agent went away.
    pub(crate) fn gone(&mut self, id: &AgentId) {
        self.members.retain(|member| member.info.id != *id);
    }

    /// Notes that an agent was refused, and drops all who are under the limit.
    pub(crate) fn refuse(&mut self, wanted: Wanted<'_>, id: &AgentId, refusal: Refusal) {
        if let Some(at) = self.members.iter().position(|member| member.info.id == *id) {
            self.refuse_at(wanted, at, refusal);
        }
    }

    fn refuse_at(&mut self, wanted: Wanted<'_>, at: usize, refusal: Refusal) {
        let refusal = Arc::new(refusal);
        let Some(member) = self.members.get_mut(at).filter(|member| member.refused.is_none()) else { return };
        self.refused = true;
        member.refused = Some(Arc::clone(&refusal));
        match &refusal.key {
            // A rule counts nothing: it is told again at once.
            None => {}
            Some(key) if key.scope.agent().is_some() => remember(&mut member.own, refusal),
            Some(_) => {
                for other in self.members.iter_mut().filter(|other| other.refused.is_none()) {
                    other.refused =
                        is_under(&other.info, &refusal, wanted.lane).then(|| Arc::clone(&refusal));
                }
                remember(&mut self.shared, refusal);
            }
        }
    }

    /// Asks all who are left at once, and drops who has no room under the limits that are read; that is advice.
    pub(crate) async fn sift(&mut self, fleet: &Fleet, wanted: Wanted<'_>) -> Result<()> {
        let now = fleet.now();
        let mut from = 0;
        loop {
            let rest = (from..).zip(self.members.get(from..).unwrap_or_default());
            let left = rest.filter(|(_, member)| member.is_left(wanted.lane)).take(ASKED);
            let (places, asked): (Vec<usize>, Vec<&AgentInfo>) =
                left.map(|(at, member)| (at, &member.info)).unzip();
            let Some(last) = places.last() else { return Ok(()) };
            from = last + 1;
            let (plans, readings) = fleet.plans(&self.book, asked.into_iter(), wanted.lane, now).await?;
            for (at, plan) in places.into_iter().zip(plans) {
                if let Some(refusal) = refusal(plan, &readings, wanted.tokens) {
                    self.refuse_at(wanted, at, refusal);
                }
            }
        }
    }

    /// Why the task has no agent, when nobody is left: limits, or there was nobody to ask.
    pub(crate) fn verdict(&self, wanted: Wanted<'_>) -> Result<Refused, PendingReason> {
        let refusals = || self.members.iter().filter_map(|member| member.refused.as_deref());
        let with_room = || self.members.iter().filter(|member| member.info.has_room());
        let asked = || with_room().filter_map(|member| member.refused.as_deref());
        let others = self
            .members
            .iter()
            .filter(|other| other.refused.is_none() && is_fit(wanted.lane, &other.info))
            .count();
        let Some(told) = asked().find(|refusal| is_for_itself(refusal)).or_else(|| asked().next()) else {
            return Err(nobody(others + refusals().count()));
        };
        let mut told = told.clone();
        if let Some(key) = &told.key {
            // It may have been remembered of a smaller ask.
            told.need = key.meter.need(wanted.tokens);
        }
        let for_itself = is_for_itself(&told);
        let soon = others > 0 || for_itself && !refusals().all(is_for_itself);
        let limits = refusals().filter(|refusal| refusal.key.is_some());
        // Absent where one may have room at any moment.
        let retry_at = limits.map(|refusal| refusal.retry_at).min().flatten().filter(|_| !soon);
        Ok(Refused { told, for_itself, soon, retry_at })
    }
}

impl Member {
    /// Whether it fits a lane, has room, and is kept from nothing as far as is known.
    fn is_left(&self, lane: &Lane) -> bool {
        self.refused.is_none() && is_fit(lane, &self.info) && self.info.has_room()
    }
}

/// What of a plan has no room where limits stand as they were read.
fn refusal(plan: Plan, readings: &HashMap<MeterKey, Reading>, tokens: Amount) -> Option<Refusal> {
    let full = |limit: &Limit| admit(limit, readings.get(&limit.key)?, tokens).err();
    plan.rule.or_else(|| plan.limits.iter().find_map(full).map(|refusal| *refusal))
}

/// Keeps a refusal in the place of that of a larger ask by the same limit.
fn remember(known: &mut Vec<Arc<Refusal>>, refusal: Arc<Refusal>) {
    known.retain(|larger| larger.key != refusal.key);
    known.push(refusal);
}

/// Whether a limit without room refuses a task again, with an agent that is under it.
fn refuses(refusal: &Refusal, wanted: Wanted<'_>) -> bool {
    let Some(key) = &refusal.key else { return false };
    let counts_there = match &key.scope {
        Scope::Project(project) => wanted.lane.project.as_ref() == Some(project),
        Scope::Fleet | Scope::Model(_) | Scope::Agent(_) | Scope::AgentModel(..) => true,
        _ => false,
    };
    counts_there && key.meter.need(wanted.tokens) >= refusal.need
}

/// Whether an agent that may take tasks of a lane is under a limit, of its own or shared, in these.
fn is_under(agent: &AgentInfo, refusal: &Refusal, lane: &Lane) -> bool {
    let counts_there = match refusal.key.as_ref().map(|key| &key.scope) {
        Some(Scope::Model(model) | Scope::AgentModel(_, model)) => {
            Subject::of(agent, lane).model == Some(model)
        }
        Some(Scope::Fleet | Scope::Project(_) | Scope::Agent(_)) => true,
        _ => false,
    };
    counts_there && is_fit(lane, agent)
}

/// Whether a smaller ask would have had room.
fn is_for_itself(refusal: &Refusal) -> bool {
    let tokens = refusal.key.as_ref().is_some_and(|key| key.meter == Meter::Tokens);
    let taken = refusal.used.plus(refusal.reserved);
    tokens && refusal.need > Amount::ONE && refusal.cap.is_some_and(|cap| taken < cap)
}

/// Why nobody was asked, of so many that fit.
fn nobody(fit: usize) -> PendingReason {
    let (code, detail) = if fit == 0 {
        ("no_agent", "no live agent has the labels and the model that this needs".to_owned())
    } else {
        ("at_capacity", format!("all {fit} agents that fit are at their max_load"))
    };
    PendingReason { code: code.to_owned(), detail, retry_at: None }
}

#[cfg(test)]
mod tests {
    use agentic_core::{agent::AgentStatus, limit::Window};

    use super::*;

    #[test]
    fn of_one_limit_the_least_ask_that_it_refused_is_kept() {
        let info = AgentInfo {
            id: "a".parse().unwrap(),
            name: String::new(),
            capabilities: std::collections::BTreeSet::new(),
            models: Vec::new(),
            status: AgentStatus::Available,
            draining: false,
            last_heartbeat: Timestamp::EPOCH,
            current_load: 0,
            max_load: 0,
            registered_at: Timestamp::EPOCH,
            incarnation: 1,
        };
        let members = vec![Member { info: info.clone(), own: Vec::new(), refused: None }];
        let mut pool = Pool { members, book: Arc::default(), shared: Vec::new(), refused: false };
        let lane = Lane::default();
        for scope in [Scope::Agent(info.id.clone()), Scope::Fleet] {
            for tokens in [300_u32, 200, 100] {
                let wanted = Wanted { lane: &lane, tokens: tokens.into() };
                pool.begin(wanted);
                assert_eq!(pool.open().count(), 1, "a smaller ask may have room");
                let key = MeterKey { scope: scope.clone(), meter: Meter::Tokens, window: Window::Day };
                let refusal = Refusal { key: Some(key), need: wanted.tokens, ..Refusal::rule("full") };
                pool.refuse(wanted, &info.id, refusal);
                pool.begin(wanted);
                assert_eq!(pool.open().count(), 0);
            }
            pool.members[0]
                .own
                .iter()
                .chain(&pool.shared)
                .for_each(|kept| assert_eq!(kept.need, 100_u32.into()));
            assert_eq!(pool.members[0].own.len() + pool.shared.len(), 1);
            pool.members[0].own.clear();
        }
    }
}
