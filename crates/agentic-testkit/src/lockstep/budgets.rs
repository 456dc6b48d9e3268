//! Calls about limits, admissions and usage.

use std::time::Duration;

use agentic_core::{
    allowance::{AgentAllowance, CostBasis, ModelQuota, Price},
    amount::Amount,
    budget::{Budget, BudgetLimit},
    clock::Timestamp,
    error::Result,
    id::{AgentId, JobId, ModelName},
    job::JobOutcome,
    limit::{Limit, Meter, Scope, Window},
    port::{Admission, Extend, Ports, Replan, Report, ResetUsage, SetBudget, Settle, StartJob, VoidJob},
    rpc::Call,
    task::Task,
    usage::Figures,
};

use crate::given::{id, n, t};

use super::generate::{Aim, Generator, MODELS, OPEN, PROJECT};

/// Whose budgets are set.
const SCOPES: [&str; 3] = ["fleet", "agent:a0 model:vendor/m1", "project:p"];

impl Generator {
    pub(super) fn figures(&mut self) -> Figures {
        let cost_micros = self.chance(30).then(|| n(self.rng.u32(0..120)));
        let (tokens_in, tokens_out) = (self.rng.u32(0..30), self.rng.u32(0..20));
        let parts = self.chance(50);
        let mut part = |of: u32| n(if parts { self.rng.u32(0..=of / 2) } else { 0 });
        Figures {
            tokens_in: n(tokens_in),
            tokens_out: n(tokens_out),
            cache_read: part(tokens_in),
            cache_write: part(tokens_in),
            reasoning: part(tokens_out),
            cost_micros,
            requests: self.chance(20).then(|| n(self.rng.u32(0..6))),
        }
    }

    /// One of two series of windows, as two dispatchers may know them for a moment.
    fn anchored(&mut self) -> Window {
        Window::anchored(600, t(if self.chance(80) { 7 } else { 311 }))
    }

    pub(super) fn maybe_figures(&mut self) -> Option<Figures> {
        self.chance(60).then(|| self.figures())
    }

    pub(super) fn price(&mut self) -> Option<Price> {
        let flat = self.chance(40).then(|| Price::flat(n(700_000), n(1_300_000)))?;
        let mut part = |price| self.chance(50).then(|| n(price));
        Some(Price {
            cache_read: part(70_001),
            cache_write: part(900_000),
            reasoning: part(2_000_000),
            ..flat
        })
    }

    /// Some of the limits that one job of this agent and model could be held against.
    pub(super) fn limits(&mut self, agent: &AgentId, model: Option<&ModelName>) -> Vec<Limit> {
        let agents = || Scope::Agent(agent.clone());
        let mut limits = vec![
            Limit::new(agents(), Meter::Tokens, Window::Day, Some(n(90))),
            Limit::new(agents(), Meter::Jobs, Window::Day, Some(n(9))),
            Limit::new(agents(), Meter::ActiveJobs, Window::Live, Some(n(2))),
            Limit::new(agents(), Meter::Tokens, Window::Sliding(600), Some(n(60))),
            Limit::new(agents(), Meter::Cost, Window::Day, Some(n(200))),
            Limit::new(Scope::Fleet, Meter::Tokens, self.anchored(), Some(n(150))),
            Limit::new(Scope::Fleet, Meter::ActiveJobs, Window::Live, Some(n(5))),
            Limit::new(Scope::Project(id(PROJECT)), Meter::Jobs, Window::Day, Some(n(7))),
            Limit::new(Scope::Project(id(PROJECT)), Meter::Cost, self.anchored(), Some(n(150))),
        ];
        if let Some(model) = model {
            let models = || Scope::Model(model.clone());
            limits.extend([
                Limit::new(models(), Meter::Requests, Window::HOUR, Some(n(3))),
                Limit::new(models(), Meter::Tokens, Window::Day, Some(n(150))),
                Limit::new(models(), Meter::Cost, Window::Lifetime, Some(n(400))),
                Limit::new(
                    Scope::AgentModel(agent.clone(), model.clone()),
                    Meter::Requests,
                    Window::HOUR,
                    Some(n(2)),
                ),
            ]);
        }
        limits.retain(|_| self.rng.u32(0..100) < 55);
        for limit in &mut limits {
            // Now and then a cap lies below what is used already, or there is none.
            match self.rng.u32(0..100) {
                0..25 => limit.cap = None,
                25..30 => limit.cap = Some(n(self.rng.u32(0..30))),
                _ => {}
            }
        }
        self.rng.shuffle(&mut limits);
        limits
    }

    pub(super) fn admission(
        &mut self,
        job: &JobId,
        agent: &AgentId,
        task: Option<&Task>,
        now: Timestamp,
    ) -> Admission {
        if !self.chance(5) {
            self.admissions += 1;
        }
        let model = task.and_then(|task| task.model.clone()).or_else(|| self.any_model());
        Admission {
            job: job.clone(),
            id: format!("admission {}", self.admissions),
            agent_id: agent.clone(),
            project: task.and_then(|task| task.project.clone()),
            task_created_at: task.map(|task| task.created_at),
            price: self.price(),
            limits: self.limits(agent, model.as_ref()),
            model,
            ask: n(self.rng.u32(0..40)),
            expires_at: now.plus(Duration::from_secs(self.rng.u64(5..60))),
            now,
        }
    }

    /// The allowance's half alone.
    pub(super) async fn job(&mut self, left: &Ports, now: Timestamp) -> Result<Call> {
        let aim = self.aim(left, OPEN).await?;
        let Aim { job, agent, task, .. } = aim;
        Ok(match self.rng.u32(0..12) {
            0..3 => Call::AllowancesAdmit { admission: self.admission(&job, &agent, task.as_ref(), now) },
            3 => Call::AllowancesStart { start: StartJob { job, now } },
            4 if self.chance(50) => {
                let model = self.any_model();
                let limits = self.limits(&agent, model.as_ref());
                Call::AllowancesReplan { replan: Replan { job, limits, now } }
            }
            4 => Call::AllowancesExtend { extend: Extend { job, expires_at: self.later(now, 60), now } },
            5 => {
                let admission = match left.allowances.job(&job).await? {
                    Some(found) if self.chance(80) => found.admission,
                    _ => "another".to_owned(),
                };
                Call::AllowancesVoid { void: VoidJob { job, admission, now } }
            }
            6 => {
                let outcomes =
                    [JobOutcome::Completed, JobOutcome::Failed, JobOutcome::Cancelled, JobOutcome::Released];
                Call::AllowancesSettle { settle: Settle { job, outcome: self.pick(&outcomes), now } }
            }
            7 => Call::AllowancesResetUsage { reset: ResetUsage { agent_id: agent, now } },
            _ => {
                let model = self.any_model();
                let limits = self.limits(&agent, model.as_ref());
                let report = Report {
                    job,
                    agent_id: agent,
                    model,
                    figures: self.figures(),
                    limits,
                    price: self.price(),
                    stop: self.chance(3).then(|| "its cost is not known".to_owned()),
                    expires_at: self.later(now, 60),
                    now,
                };
                Call::AllowancesReport { report }
            }
        })
    }

    pub(super) fn limit_call(&mut self, now: Timestamp) -> Call {
        let agent = self.any_agent();
        let model: ModelName = id(self.pick(&MODELS));
        match self.rng.u32(0..6) {
            4 => {
                let scope = self.pick(&SCOPES);
                let mut budget = Budget::new(id(scope));
                let window = if self.chance(50) { "day" } else { "anchored:600" };
                budget.limits.push(BudgetLimit::new(Meter::Cost, id(window), n(self.rng.u32(0..9))));
                let seen = self.chance(30).then(|| self.rng.u64(0..12));
                Call::AllowancesSetBudget { set: SetBudget { budget, seen, now } }
            }
            5 => Call::AllowancesDeleteBudget { scope: id(self.pick(&SCOPES)), now },
            0 => {
                let limits = AgentAllowance::unlimited(agent);
                let limit = n(self.rng.u32(0..5));
                Call::AllowancesSetAllowance {
                    allowance: AgentAllowance { daily_job_limit: limit, ..limits },
                    now,
                }
            }
            1 => Call::AllowancesDeleteAllowance { agent, now },
            2 => {
                let quota = ModelQuota {
                    cost_ceiling: Amount::MAX,
                    price: self.price(),
                    cost: CostBasis::Reported,
                    ..ModelQuota::unlimited(model)
                };
                Call::AllowancesSetModelQuota { quota, now }
            }
            _ => Call::AllowancesDeleteModelQuota { model, now },
        }
    }
}
