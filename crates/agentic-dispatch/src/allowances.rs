//! The service of allowances: what may be used, and what was.

use std::collections::BTreeMap;

use agentic_core::{
    allowance::{
        AgentAllowance, ModelQuota, ModelUsage, QuotaCheck, QuotaStatus, UsageAnswer, UsageEvent,
        UsageRecord, UsageReport,
    },
    amount::Amount,
    attempt::{Attempt, AttemptOutcome},
    clock::Timestamp,
    error::{ConflictCode, Error, Kind, Result},
    id::{AgentId, JobId, ModelName},
    job::{JobOutcome, MAX_MODELS},
    limit::{Held, Limit, Meter, MeterKey, Reading, Refusal, Scope, Window},
    port::{
        Beat, BeatAnswer, BeatAttempt, Difference, EntryPage, ReadEntries, Report, ResetUsage, Settle,
        Unpark, Wake,
    },
    task::Page,
    usage::{Directive, WARNING_PERCENT},
};

use crate::{
    budgets::{USED_UP, usage_scope},
    fleet::Fleet,
    limits::{Plan, Subject},
};

/// How many lanes one step of a wake-up wakes.
const WAKE_STEP: usize = 200;
/// How many steps one wake-up takes at most; the dispatcher's next look finds the rest by itself.
const WAKE_STEPS: usize = 500;

/// What is done with allowances.
#[derive(Debug, Clone)]
pub struct AllowanceService {
    pub(crate) fleet: Fleet,
}

impl AllowanceService {
    pub(crate) fn new(fleet: Fleet) -> Self {
        Self { fleet }
    }

    /// Says whether a job of this agent would be admitted now, and what is left. A check reserves nothing.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn check(&self, agent: &AgentId, model: Option<&ModelName>) -> Result<QuotaCheck> {
        let now = self.fleet.now();
        let max_load = match self.fleet.ports().agents.get(agent).await {
            Ok(info) => info.max_load,
            Err(Error::NotFound { .. }) => 0,
            Err(error) => return Err(error),
        };
        let subject = Subject { agent, max_load, model, project: None };
        let plan = self.fleet.limits().await?.plan(self.fleet.policy(), &subject, now);
        self.check_plan(&plan, Amount::ZERO, now).await
    }

    /// Holds an ask against a plan, without taking anything.
    pub(crate) async fn check_plan(&self, plan: &Plan, ask: Amount, now: Timestamp) -> Result<QuotaCheck> {
        let capped: Vec<&Limit> = plan.limits.iter().filter(|limit| limit.cap.is_some()).collect();
        let shadows: Vec<&Limit> = plan.shadows.iter().collect();
        let keys: Vec<MeterKey> = capped.iter().chain(&shadows).map(|limit| limit.key.clone()).collect();
        let readings = self.fleet.ports().allowances.readings(&keys, now).await?;
        let mut check = QuotaCheck {
            allowed: true,
            status: QuotaStatus::Ok,
            remaining_tokens: None,
            remaining_jobs: None,
            reason: None,
            retry_at: None,
            would_refuse: Vec::new(),
        };
        let would_refuse = shadows.iter().zip(readings.iter().skip(capped.len()));
        let would_refuse = would_refuse.filter_map(|(limit, reading)| admit(limit, reading, ask).err());
        check.would_refuse = would_refuse.map(|refusal| refusal.to_string()).collect();
        let mut refusal = plan.rule.clone().map(Box::new);
        for (limit, reading) in capped.into_iter().zip(&readings) {
            let Some(cap) = limit.cap else { continue };
            let taken = reading.used.plus(reading.reserved);
            let left = match limit.key.meter {
                Meter::Tokens => Some(&mut check.remaining_tokens),
                Meter::Jobs => Some(&mut check.remaining_jobs),
                _ => None,
            };
            if let Some(left) = left {
                let here = cap.minus(taken);
                *left = Some(left.map_or(here, |least| least.min(here)));
            }
            if taken >= cap.percent(WARNING_PERCENT) {
                check.status = QuotaStatus::Warning;
            }
            refusal = refusal.or_else(|| admit(limit, reading, ask).err());
        }
        if let Some(refusal) = refusal {
            check.allowed = false;
            check.status = QuotaStatus::Exceeded;
            check.reason = Some(refusal.to_string());
            check.retry_at = refusal.retry_at;
        }
        Ok(check)
    }

    /// Charges what a job used so far, and answers what its agent is to do.
    ///
    /// While the task's attempt is live, an ending only charges: the task's own ending settles. An attempt that is over
    /// settles as it is recorded, whatever the report says. An attempt's report renews its lease, as every call of a
    /// holder does. Use of a model under a limit on spend that has neither a price nor a reported cost stops its job.
    ///
    /// # Errors
    /// `Unavailable`; `Conflict` `not_holder` when the job or the attempt is another agent's.
    pub async fn record_usage(&self, report: UsageReport) -> Result<UsageAnswer> {
        let now = self.fleet.now();
        let (job, attempt) = self.attempt_of(&report.job_id).await?;
        let ports = self.fleet.ports();
        let admitted = ports.allowances.job(&job).await?;
        let whose = admitted.as_ref().map(|job| &job.agent_id).or(attempt.as_ref().map(|a| &a.agent_id));
        if let Some(whose) = whose.filter(|whose| **whose != report.agent_id) {
            return Err(Error::Conflict {
                code: ConflictCode::NotHolder,
                detail: format!("job {job} is agent {whose}'s"),
                holder: Some(whose.clone()),
            });
        }
        let figures = report.figures()?;
        let live = attempt.as_ref().is_some_and(|attempt| attempt.ended_at.is_none());
        let own = admitted.as_ref().and_then(|job| job.model().cloned());
        let same_model = report.model.is_none() || report.model == own;
        let lines = admitted.as_ref().map_or(&[][..], |job| &job.lines);
        if lines.len() >= MAX_MODELS && !same_model && lines.iter().all(|line| line.model != report.model) {
            return Err(Error::invalid("model", "a job counts at most 32 models; report it as one of those"));
        }
        if let Some(until) = report.resets_at {
            // Another model than the job's is believed where the agent has it: else anybody could name any.
            let other = report.model.clone().filter(|_| !same_model);
            let has = match &other {
                Some(model) => {
                    let agent = self.fleet.ports().agents.get(&report.agent_id).await;
                    agent.is_ok_and(|agent| agent.models.contains(model))
                }
                None => false,
            };
            let scope = usage_scope(report.agent_id.clone(), other.filter(|_| has).or(own.clone()));
            self.hold(&scope, until, USED_UP).await?;
        }
        let mut beaten = None;
        if live && admitted.is_some() {
            let figures = same_model.then_some(figures);
            let attempts = vec![BeatAttempt { job: job.clone(), figures }];
            let beat = Beat { agent_id: report.agent_id.clone(), incarnation: None, attempts, now };
            let answer = ports.ledger.beat(beat).await?.into_iter().next();
            let answer = from_beat(answer.ok_or_else(|| Error::backend("the ledger's answer to a beat"))?);
            if same_model {
                return Ok(answer);
            }
            beaten = Some(answer).filter(|answer| answer.directive == Directive::Stop);
        }
        let model = report.model.clone().or(own);
        let project = admitted.as_ref().and_then(|job| job.project.as_ref());
        let subject = Subject { agent: &report.agent_id, max_load: 0, model: model.as_ref(), project };
        let mut book = self.fleet.limits().await?;
        let plan = self.fleet.plan_of_use(&mut book, &subject, now).await?;
        let pinned = admitted.iter().flat_map(|job| &job.lines).find(|line| line.model == model);
        let costs =
            figures.cost_micros.is_some() || pinned.is_some_and(|line| line.high.cost_micros.is_some());
        let price = pinned.map_or(plan.price, |line| line.price);
        let stop = plan.unpriced(price, model.as_ref()).filter(|_| !costs && !figures.tokens().is_zero());
        let charge = Report {
            stop: stop.map(|refusal| format!("{refusal}; or report what it cost")),
            job: job.clone(),
            agent_id: report.agent_id.clone(),
            model,
            figures,
            limits: plan.limits,
            price: plan.price,
            expires_at: now.plus(self.fleet.policy().claim_lease),
            now,
        };
        let answer = ports.allowances.report(charge).await?;
        let said = match report.event {
            UsageEvent::JobStarted | UsageEvent::JobProgress => None,
            UsageEvent::JobCompleted => Some(JobOutcome::Completed),
            UsageEvent::JobFailed => Some(JobOutcome::Failed),
            UsageEvent::JobCancelled => Some(JobOutcome::Cancelled),
        };
        if let (Some(said), false) = (said, live) {
            let recorded = attempt.and_then(|attempt| attempt.outcome).map(AttemptOutcome::job_outcome);
            let outcome = recorded.unwrap_or(said);
            ports.allowances.settle(Settle { job, outcome, now }).await?;
        }
        Ok(beaten.unwrap_or(answer))
    }

    /// The job that a report means, and its attempt, if there was one. A bare task id, which is what the Go library
    /// calls a job, means the task's current attempt.
    async fn attempt_of(&self, job: &JobId) -> Result<(JobId, Option<Attempt>)> {
        let tasks = &self.fleet.ports().tasks;
        let mut job = job.clone();
        if job.attempt == 0 {
            match tasks.get(&job.task, self.fleet.now()).await {
                Ok(task) => job.attempt = task.attempt,
                Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let attempt = tasks.attempt(&job).await?;
        Ok((job, attempt))
    }

    /// Sets an agent's day to zero by a balancing entry, and wakes what waits for it; answers with what it used now.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn reset_agent(&self, agent: &AgentId) -> Result<UsageRecord> {
        let reset = ResetUsage { agent_id: agent.clone(), now: self.fleet.now() };
        self.fleet.ports().allowances.reset_usage(reset).await?;
        self.wake(Wake::Scope(Scope::Agent(agent.clone()))).await?;
        self.usage(agent).await
    }

    /// Reads a page of an agent's ledger, newest first.
    ///
    /// # Errors
    /// `Invalid` for a page of none or more than 1,000, and for a cursor that is none.
    pub async fn ledger(&self, read: ReadEntries) -> Result<EntryPage> {
        if read.limit == 0 || read.limit > Page::MAX_LIMIT {
            return Err(Error::invalid("limit", "must be 1 to 1000"));
        }
        self.fleet.ports().allowances.entries(read).await
    }

    /// Recomputes every meter from the ledger; answers with what differs.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn verify(&self) -> Result<Vec<Difference>> {
        self.fleet.ports().allowances.verify().await
    }

    /// What an agent used today.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn usage(&self, agent: &AgentId) -> Result<UsageRecord> {
        let now = self.fleet.now();
        let scope = || Scope::Agent(agent.clone());
        let keys = [
            key(scope(), Meter::Tokens, Window::Day),
            key(scope(), Meter::Jobs, Window::Day),
            key(scope(), Meter::ActiveJobs, Window::Live),
        ];
        let readings = self.fleet.ports().allowances.readings(&keys, now).await?;
        let [tokens, jobs, active] = readings.as_slice() else {
            return Err(Error::backend("the reading of three meters"));
        };
        let midnight = Window::Day.bucket(now).saturating_mul(86_400_000);
        Ok(UsageRecord {
            agent_id: agent.clone(),
            tokens_used: tokens.used,
            jobs_started: jobs.used,
            active_jobs: active.reserved,
            period_start: Timestamp::from_millis(midnight),
        })
    }

    /// What was used of models, over all agents, in the order in which they are named.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn model_usages(&self, models: &[ModelName]) -> Result<Vec<ModelUsage>> {
        let meters = [
            (Meter::Tokens, Window::Day),
            (Meter::Requests, Window::HOUR),
            (Meter::Cost, Window::Lifetime),
            (Meter::ActiveJobs, Window::Live),
        ];
        let keys =
            |model: &ModelName| meters.map(|(meter, window)| key(Scope::Model(model.clone()), meter, window));
        let keys: Vec<MeterKey> = models.iter().flat_map(keys).collect();
        let readings = self.fleet.ports().allowances.readings(&keys, self.fleet.now()).await?;
        let usage = |readings: &[Reading]| match readings {
            [tokens, requests, cost, active] => Ok(ModelUsage {
                tokens_today: tokens.used,
                requests_last_hour: requests.used,
                cost_micros: cost.used,
                active_jobs: active.reserved,
            }),
            _ => Err(Error::backend("the reading of four meters")),
        };
        readings.chunks(meters.len()).map(usage).collect()
    }

    /// How many requests one agent made to one model in the last hour.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn hourly_usage(&self, agent: &AgentId, model: &ModelName) -> Result<Amount> {
        let key = key(Scope::AgentModel(agent.clone(), model.clone()), Meter::Requests, Window::HOUR);
        let readings = self.fleet.ports().allowances.readings(&[key], self.fleet.now()).await?;
        Ok(readings.first().map_or(Amount::ZERO, |reading| reading.used))
    }

    /// Tokens left today, for each of these agents that has a daily limit.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn remaining(&self, agents: &[AgentId]) -> Result<BTreeMap<AgentId, Amount>> {
        let (book, now) = (self.fleet.limits().await?, self.fleet.now());
        let daily = |agent: &AgentId| {
            let subject = Subject { agent, max_load: 0, model: None, project: None };
            let plan = book.plan(self.fleet.policy(), &subject, now);
            let own = Scope::Agent(agent.clone());
            let daily = MeterKey { scope: own, meter: Meter::Tokens, window: Window::Day };
            let is_daily = |limit: &Limit| limit.key == daily && limit.cap.is_some();
            plan.limits
                .into_iter()
                .find(is_daily)
                .and_then(|limit| Some((agent.clone(), limit.key, limit.cap?)))
        };
        let limited: Vec<(AgentId, MeterKey, Amount)> = agents.iter().filter_map(daily).collect();
        let keys: Vec<MeterKey> = limited.iter().map(|(_, key, _)| key.clone()).collect();
        let readings = self.fleet.ports().allowances.readings(&keys, now).await?;
        let left = |((agent, _, cap), reading): ((AgentId, MeterKey, Amount), Reading)| {
            (agent, cap.minus(reading.used.plus(reading.reserved)))
        };
        Ok(limited.into_iter().zip(readings).map(left).collect())
    }

    /// An agent's own allowance.
    ///
    /// # Errors
    /// `NotFound` when it has none.
    pub async fn get(&self, agent: &AgentId) -> Result<AgentAllowance> {
        let own = self.fleet.ports().allowances.allowance(agent).await?;
        own.ok_or_else(|| Error::not_found(Kind::Allowance, agent))
    }

    /// All allowances, ascending by agent.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn list(&self) -> Result<Vec<AgentAllowance>> {
        self.fleet.ports().allowances.allowances().await
    }

    /// Sets an agent's allowance, and wakes what waits for it.
    ///
    /// # Errors
    /// `Invalid`.
    pub async fn set(&self, allowance: AgentAllowance) -> Result<AgentAllowance> {
        allowance.validate()?;
        self.fleet.ports().allowances.set_allowance(allowance.clone(), self.fleet.now()).await?;
        self.wake(Wake::Scope(Scope::Agent(allowance.agent_id.clone()))).await?;
        Ok(allowance)
    }

    /// Removes an agent's allowance; the default holds again.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete(&self, agent: &AgentId) -> Result<()> {
        self.fleet.ports().allowances.delete_allowance(agent, self.fleet.now()).await?;
        self.wake(Wake::Scope(Scope::Agent(agent.clone()))).await
    }

    /// A model's quota, and what is used of it.
    ///
    /// # Errors
    /// `NotFound` when it has none.
    pub async fn model(&self, model: &ModelName) -> Result<ModelQuota> {
        let quota = self.fleet.ports().allowances.model_quota(model).await?;
        let quota = quota.ok_or_else(|| Error::not_found(Kind::Model, model))?;
        Ok(self.used(vec![quota]).await?.remove(0))
    }

    /// All quotas, ascending by model, and what is used of them.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn models(&self) -> Result<Vec<ModelQuota>> {
        self.used(self.fleet.ports().allowances.model_quotas().await?).await
    }

    async fn used(&self, mut quotas: Vec<ModelQuota>) -> Result<Vec<ModelQuota>> {
        let models: Vec<ModelName> = quotas.iter().map(|quota| quota.model.clone()).collect();
        let usages = self.model_usages(&models).await?;
        for (quota, usage) in quotas.iter_mut().zip(usages) {
            quota.usage = Some(usage);
        }
        Ok(quotas)
    }

    /// Sets a model's quota, and wakes what waits for it.
    ///
    /// # Errors
    /// `Invalid`.
    pub async fn set_model(&self, mut quota: ModelQuota) -> Result<ModelQuota> {
        quota.validate()?;
        quota.usage = None;
        self.fleet.ports().allowances.set_model_quota(quota.clone(), self.fleet.now()).await?;
        self.wake(Wake::Scope(Scope::Model(quota.model.clone()))).await?;
        Ok(quota)
    }

    /// Removes a model's quota.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_model(&self, model: &ModelName) -> Result<()> {
        self.fleet.ports().allowances.delete_model_quota(model, self.fleet.now()).await?;
        self.wake(Wake::Scope(Scope::Model(model.clone()))).await
    }

    /// Wakes what waits, in bounded steps.
    pub(crate) async fn wake(&self, wake: Wake) -> Result<()> {
        for _ in 0..WAKE_STEPS {
            let unpark = Unpark { wake: wake.clone(), limit: WAKE_STEP };
            if self.fleet.ports().tasks.unpark(unpark).await? < WAKE_STEP {
                break;
            }
        }
        Ok(())
    }
}

/// Whether an ask has room under a limit that was read.
pub(crate) fn admit(limit: &Limit, reading: &Reading, ask: Amount) -> Result<(), Box<Refusal>> {
    let reserved = reading.reserved;
    let held = match limit.key.meter {
        Meter::Tokens => Held { tokens: reserved, ..Held::default() },
        Meter::ActiveJobs => Held { active: reserved, ..Held::default() },
        _ => Held { unstarted: reserved, ..Held::default() },
    };
    limit.admit(&reading.buckets, &held, ask)
}

fn key(scope: Scope, meter: Meter, window: Window) -> MeterKey {
    MeterKey { scope, meter, window }
}

fn from_beat(answer: BeatAnswer) -> UsageAnswer {
    let BeatAnswer { directive, reason, remaining_tokens, cost_micros, cost_source, .. } = answer;
    let late = directive == Directive::Stop && reason.as_deref() == Some("lease_lost");
    UsageAnswer { directive, reason, remaining_tokens, cost_micros, cost_source, unadmitted: false, late }
}
