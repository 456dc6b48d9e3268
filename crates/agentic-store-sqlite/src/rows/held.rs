//! What live reservations hold, read from the jobs themselves.

use agentic_core::{
    amount::Amount,
    clock::Timestamp,
    error::Result,
    job::{Job, JobState},
    limit::{Held, Scope},
};

use crate::sql::{Columns, Sql};

/// The open jobs under a scope that were admitted: when they expire, whether they wait to start, and what is left of what they asked.
macro_rules! select_held {
    ($rest:literal) => {
        concat!(
            "SELECT expires_at, state = 'reserved', tokens FROM jobs
                WHERE state IN ('reserved', 'started') AND unadmitted = 0",
            $rest
        )
    };
}

pub(crate) const HELD_BY_AGENT: &str = select_held!(" AND agent_id = ?1");
pub(crate) const HELD_BY_MODEL: &str = select_held!(" AND model = ?1");
pub(crate) const HELD_BY_AGENT_MODEL: &str = select_held!(" AND agent_id = ?1 AND +model = ?2");
pub(crate) const HELD_BY_PROJECT: &str = select_held!(" AND project = ?1");
pub(crate) const HELD_BY_ALL: &str = select_held!("");

/// What is held under one scope at every instant from `from` on and before `until`, between two expiries.
///
/// Between expiries only a written job changes the sum, so it is exact for the whole span.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeldSpan {
    from: Timestamp,
    until: Timestamp,
    active: u64,
    unstarted: u64,
    tokens: u128,
}

impl HeldSpan {
    /// Nothing is held, ever.
    const EMPTY: Self =
        Self { from: Timestamp::MIN, until: Timestamp::MAX, active: 0, unstarted: 0, tokens: 0 };

    /// Reads the open jobs under `scope`, and the span around `now`.
    pub(crate) fn read(sql: Sql<'_>, scope: &Scope, now: Timestamp) -> Result<Self> {
        let mut span = Self::EMPTY;
        let job = |columns: &mut Columns<'_>| {
            span.note(columns.at()?, columns.get()?, columns.amount()?, now);
            Ok(())
        };
        match scope {
            Scope::Agent(agent) => sql.all(HELD_BY_AGENT, [agent.as_str()], job),
            Scope::Model(model) => sql.all(HELD_BY_MODEL, [model.as_str()], job),
            Scope::AgentModel(agent, model) => {
                sql.all(HELD_BY_AGENT_MODEL, [agent.as_str(), model.as_str()], job)
            }
            Scope::Project(project) => sql.all(HELD_BY_PROJECT, [project.as_str()], job),
            Scope::Fleet => sql.all(HELD_BY_ALL, [], job),
            other => Err(agentic_core::error::Error::Unsupported { what: format!("the scope {other}") }),
        }?;
        Ok(span)
    }

    /// Takes in an open job, and keeps the span around `now` free of its expiry.
    fn note(&mut self, expires_at: Timestamp, reserved: bool, tokens: Amount, now: Timestamp) {
        if expires_at > now {
            self.until = self.until.min(expires_at);
            self.count(reserved, tokens);
        } else {
            self.from = self.from.max(expires_at);
        }
    }

    /// Takes in a job that stands under the scope, and keeps the span around `now` free of its expiry.
    pub(crate) fn see(&mut self, job: &Job, now: Timestamp) {
        if holds(job) {
            self.note(job.expires_at, job.state == JobState::Reserved, job.held().tokens, now);
        }
    }

    /// What is held at `now`, if the span says so.
    pub(crate) fn at(&self, now: Timestamp) -> Option<Held> {
        (self.from <= now && now < self.until).then(|| self.sum())
    }

    /// What is held at the instant that the span was read at.
    pub(crate) fn sum(&self) -> Held {
        Held {
            active: Amount::saturating(self.active),
            unstarted: Amount::saturating(self.unstarted),
            tokens: u64::try_from(self.tokens).map_or(Amount::MAX, Amount::saturating),
        }
    }

    /// Takes a job out that stood under the scope.
    pub(crate) fn remove(&mut self, job: &Job) {
        // No expiry lies inside the span, so one that is counted expires after it.
        if holds(job) && job.expires_at >= self.until {
            self.active -= 1;
            self.unstarted -= u64::from(job.state == JobState::Reserved);
            self.tokens -= u128::from(job.held().tokens.get());
        }
    }

    /// Takes a job in that stands under the scope now.
    pub(crate) fn add(&mut self, job: &Job) {
        if holds(job) && job.expires_at > self.from {
            self.until = self.until.min(job.expires_at);
            self.count(job.state == JobState::Reserved, job.held().tokens);
        }
    }

    fn count(&mut self, reserved: bool, tokens: Amount) {
        self.active += 1;
        self.unstarted += u64::from(reserved);
        self.tokens += u128::from(tokens.get());
    }
}

/// Whether a job holds anything until it expires.
const fn holds(job: &Job) -> bool {
    job.state.is_open() && !job.unadmitted
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use agentic_core::id::JobId;
    use proptest::prelude::*;

    use super::*;

    fn job(number: u32, expires_at: i64, state: JobState, ask: u32) -> Job {
        Job {
            id: JobId::new("t".parse().unwrap(), number),
            admission: String::new(),
            agent_id: "a".parse().unwrap(),
            project: None,
            task_created_at: None,
            ask: ask.into(),
            admitted_at: Timestamp::EPOCH,
            expires_at: Timestamp::from_millis(expires_at),
            started_at: None,
            ended_at: None,
            state,
            outcome: None,
            lines: Vec::new(),
            charges: Vec::new(),
            stopped: false,
            unadmitted: false,
            late: false,
        }
    }

    fn states() -> impl Strategy<Value = JobState> {
        let states = [JobState::Reserved, JobState::Started, JobState::Settled, JobState::Void];
        proptest::sample::select(states.to_vec())
    }

    proptest! {
        /// Whatever is written, and at whatever times it is asked, a span that answers answers what a new one would.
        #[test]
        fn a_span_is_exact(
            writes in proptest::collection::vec((0u32..5, 0i64..20, states(), 0u32..9, 0i64..20), 1..40),
        ) {
            let mut jobs: BTreeMap<u32, Job> = BTreeMap::new();
            let mut span = HeldSpan::EMPTY;
            for (number, expires_at, state, ask, now) in writes {
                let (after, now) = (job(number, expires_at, state, ask), Timestamp::from_millis(now));
                jobs.get(&number).into_iter().for_each(|before| span.remove(before));
                span.add(&after);
                jobs.insert(number, after);
                let mut anew = HeldSpan::EMPTY;
                for job in jobs.values() {
                    anew.see(job, now);
                }
                let live = jobs.values().filter(|job| job.is_live(now));
                let sum = live.fold(Held::default(), |sum, job| sum.plus(job.held()));
                prop_assert_eq!(anew.at(now), Some(sum));
                prop_assert_eq!(span.at(now).unwrap_or(sum), sum);
                if span.at(now).is_none() {
                    span = anew;
                }
            }
        }
    }
}
