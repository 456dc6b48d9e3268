//! The port of the joint: what touches a task and its allowance together.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Admission, Claim, EndAttempt, Heartbeat};
use crate::{
    agent::AgentInfo,
    allowance::CostBasis,
    amount::Amount,
    clock::Timestamp,
    error::{ConflictCode, Error, Result},
    id::{AgentId, JobId},
    task::Task,
    usage::{Directive, Figures},
};

/// Admits a job and claims its task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Assign {
    /// The task's half.
    pub claim: Claim,
    /// The allowance's half: the same job, agent and expiry.
    pub admission: Admission,
}

/// What an assignment made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Assigned {
    /// The task as it stands.
    pub task: Task,
}

/// Starts an assigned attempt: the holder's first act.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StartAttempt {
    /// Which.
    pub job: JobId,
    /// Its holder; `None` = an operator.
    pub agent_id: Option<AgentId>,
    /// Which start of the agent; `None` where it does not say.
    pub incarnation: Option<u64>,
    /// When.
    pub now: Timestamp,
}

/// One running attempt in a heartbeat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BeatAttempt {
    /// Which.
    pub job: JobId,
    /// What it used so far, of the model that it was admitted for.
    pub figures: Option<Figures>,
}

/// Renews the attempts of one agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Beat {
    /// Whose.
    pub agent_id: AgentId,
    /// Which start of it; `None` where it does not say.
    pub incarnation: Option<u64>,
    /// At most 1,000.
    pub attempts: Vec<BeatAttempt>,
    /// When.
    pub now: Timestamp,
}

impl Beat {
    /// That its agent lives.
    pub fn sign_of_life(&self) -> Heartbeat {
        Heartbeat { agent_id: self.agent_id.clone(), incarnation: self.incarnation, now: self.now }
    }
}

/// What one attempt is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BeatAnswer {
    /// Which.
    pub job: JobId,
    /// What to do.
    pub directive: Directive,
    /// Why, unless it is to go on: `lease_lost`, `cancelled`, `time_bound`, or a limit in words.
    pub reason: Option<String>,
    /// Until when its lease lasts now.
    pub lease_expires_at: Option<Timestamp>,
    /// Tokens left under the tightest limit; absent = unlimited.
    pub remaining_tokens: Option<Amount>,
    /// Micro-dollars that its job was charged so far.
    #[serde(default)]
    pub cost_micros: Amount,
    /// Where they come from; absent where nobody says what the job costs.
    #[serde(default)]
    pub cost_source: Option<CostBasis>,
}

/// What a heartbeat came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Heard {
    /// The agent with its load after the beat.
    pub agent: AgentInfo,
    /// As of [`Ledger::beat`].
    pub answers: Vec<BeatAnswer>,
}

/// Ends an attempt and settles its job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finish {
    /// The task's half.
    pub end: EndAttempt,
    /// What the attempt used in all, if its agent says so here.
    pub figures: Option<Figures>,
}

/// What the end of an attempt came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finished {
    /// The task moved, or had been moved by the same call before.
    Accepted(Box<Task>),
    /// The fence refused it: the task did not change. Usage was charged, the attempt's live reservation settled,
    /// and what was sent is kept in a `late_result` event.
    Late {
        /// Why.
        code: ConflictCode,
        /// One sentence.
        detail: String,
        /// Who holds the task now.
        holder: Option<AgentId>,
    },
}

impl Finished {
    /// The task, or the conflict as an error.
    ///
    /// # Errors
    /// `Conflict` for [`Finished::Late`].
    pub fn accepted(self) -> Result<Task> {
        match self {
            Self::Accepted(task) => Ok(*task),
            Self::Late { code, detail, holder } => Err(Error::Conflict { code, detail, holder }),
        }
    }
}

/// The transitions that touch a task and its allowance together.
///
/// A store that holds both sides does each in one transaction and one round trip.
#[async_trait]
pub trait Ledger: fmt::Debug + Send + Sync + 'static {
    /// Admits a job and claims its task, or changes nothing. Unless it is dispatched, the attempt starts at once.
    ///
    /// # Atomicity
    /// One step: no admission without the claim, no claim without the admission (`assign_is_both_or_neither`).
    ///
    /// # Errors
    /// `Conflict` before `Refused`: as [`super::TaskStore::claim`]; `agent_unavailable` or `stale_incarnation` for
    /// an agent that may not be given work; `Refused` as [`super::AllowanceStore::admit`].
    async fn assign(&self, assign: Assign) -> Result<Assigned>;

    /// Starts an assigned attempt: the place becomes one used job and one used request.
    ///
    /// # Idempotency
    /// Repeating it changes nothing (`start_is_once`).
    ///
    /// # Errors
    /// `Conflict`: `stale_attempt`, `not_holder`, `illegal_transition`, `stale_incarnation`; `lease_lost` when it ran
    /// out unstarted.
    async fn start(&self, start: StartAttempt) -> Result<Task>;

    /// Starts and renews the named attempts of one start of an agent, extends their reservations and charges their
    /// growth; answers each in order. An attempt that is not the agent's any more is told to stop, and still charged.
    ///
    /// # Atomicity
    /// One step for each attempt (`beat_renews_and_charges`). A store may take several steps for a long list: when it answers
    /// `Unavailable` it may have done some of them, and repeating does the rest. A lease is never renewed without its
    /// reservation, and takes no place but from what lives (`what_ran_out_keeps_nobody_out`).
    ///
    /// # Errors
    /// `Invalid` for more than 1,000 attempts.
    async fn beat(&self, beat: Beat) -> Result<Vec<BeatAnswer>>;

    /// Notes that a registered agent lives, as [`super::AgentRegistry::heartbeat`], and beats for what it runs.
    ///
    /// # Atomicity
    /// Without attempts one step (`a_heartbeat_hears_beats_and_counts`). With many a store may take several, as
    /// [`Ledger::beat`]; an agent that registers anew in between is refused with some of them done.
    ///
    /// # Errors
    /// `Invalid` for more than 1,000 attempts, before it is heard; `NotFound`; `Conflict` `stale_incarnation`.
    async fn heartbeat(&self, beat: Beat) -> Result<Heard>;

    /// Ends an attempt and settles its job (design §5, Fence).
    ///
    /// # Atomicity
    /// One step with what it unblocks (`finish_moves_and_settles`).
    ///
    /// # Idempotency
    /// A repeated call gets its first answer while the attempt is the task's latest (`finish_is_once`); later it is
    /// [`Finished::Late`], without another `late_result` if it is identical.
    ///
    /// # Errors
    /// `Conflict` `lease_live` for an expiry whose lease lives, `not_holder`, `illegal_transition`; `Invalid` for a
    /// [`crate::attempt::Next`] that the retry count forbids.
    async fn finish(&self, finish: Finish) -> Result<Finished>;
}
