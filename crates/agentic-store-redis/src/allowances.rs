//! The port of allowances.

use std::collections::BTreeMap;

use agentic_core::{
    allowance::{AgentAllowance, ModelQuota, UsageAnswer},
    amount::Amount,
    budget::Budget,
    clock::Timestamp,
    engine::{agents::stale_version, ledger},
    error::{Error, Kind, Result},
    id::{AgentId, JobId, ModelName},
    job::Job,
    limit::{Held, Limit, Meter, MeterKey, Reading, Scope, Window, used},
    port::{
        Admission, AllowanceStore, Difference, EntryPage, ExpiredJobs, Extend, ReadEntries, Replan, Report,
        ResetUsage, SetBudget, Settle, StartJob, VoidJob,
    },
};
use async_trait::async_trait;
use fred::types::scripts::Script;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::{
    args::Args,
    error::unreadable,
    reply::{Reply, misshapen, named},
    rows::{Snapshot, StoredLimit, job, limit, price_text, refused, stored_limits},
    script,
    store::{Answer, RedisStore},
    tasks::{following, place},
};

/// How many agents one step reads the load of.
const PAGE: usize = 250;

/// How much one step reads of meters: each is [`METER`] and its buckets, of which a sliding window has 121.
const METERS: i64 = 1_310;
const METER: i64 = 10;

/// How many jobs one step reads.
const JOBS: usize = 100;

/// An admission for `take_admission`.
pub(crate) fn admission_args(args: Args, admission: &Admission) -> Result<Args> {
    let price = admission.price.map(price_text);
    let args = args
        .value(&admission.job)
        .value(&admission.job.task)
        .value(&admission.id)
        .value(&admission.agent_id)
        .maybe(admission.model.as_ref())
        .maybe(admission.project.as_ref())
        .maybe(price)
        .json(&stored_limits(&admission.limits))?;
    Ok(args.value(admission.ask).time(admission.expires_at).maybe_time(admission.task_created_at))
}

/// Meters in parts of which one step reads each.
fn pages(keys: &[MeterKey], now: Timestamp) -> impl Iterator<Item = &[MeterKey]> {
    let size = move |key: &MeterKey| {
        let (first, last) = key.window.span(now);
        METER + last - first + 1
    };
    let mut sum = keys.first().map_or(0, size);
    keys.chunk_by(move |_, next| {
        sum += size(next);
        let fits = sum <= METERS;
        if !fits {
            sum = size(next);
        }
        fits
    })
}

/// The refusal of a limit that a script found no room under, with core's figures and words.
pub(crate) fn no_room(mut reply: Reply) -> Result<Error> {
    let stored: StoredLimit = serde_json::from_str(&reply.text()?).map_err(unreadable)?;
    let ask: Amount = reply.parse()?;
    let held = held(&mut reply)?;
    let buckets = buckets(&mut reply)?;
    let refusal = limit(&stored)?.admit(&buckets, &held, ask).err();
    Ok(refusal.map_or_else(|| misshapen("a limit that has room refused"), Error::Refused))
}

fn held(reply: &mut Reply) -> Result<Held> {
    Ok(Held { active: reply.parse()?, unstarted: reply.parse()?, tokens: reply.parse()? })
}

fn buckets(reply: &mut Reply) -> Result<Vec<(i64, i64)>> {
    let mut list = reply.list()?;
    let mut buckets = Vec::new();
    while !list.is_empty() {
        buckets.push((list.parse()?, list.parse()?));
    }
    Ok(buckets)
}

impl RedisStore {
    /// Runs a script on one job; what it refuses is told in the words of core's `transition`.
    async fn job_step<T>(
        &self,
        script: &Script,
        args: Args,
        id: &JobId,
        transition: impl FnOnce(&mut Snapshot) -> Result<T> + Send,
    ) -> Result<Job> {
        match self.run(script, args).await? {
            Answer::Ok(mut reply) => job(&reply.cells()?),
            Answer::NotFound => Err(Error::not_found(Kind::Job, id)),
            Answer::Full(reply) => Err(no_room(reply)?),
            Answer::Refused(mut reply) => Err(refused(transition(&mut Snapshot::of_one(&mut reply, None)?))),
            other => other.ok().and_then(|_| Err(misshapen("it was not expected"))),
        }
    }

    /// Sets or removes a limit, and says so.
    async fn set_limit(
        &self,
        (key, name, json): (&str, &str, String),
        (agent, model): (Option<&AgentId>, Option<&ModelName>),
        now: Timestamp,
    ) -> Result<bool> {
        let args = Args::at(now)
            .value(key)
            .value(name)
            .value(json)
            .maybe(agent)
            .json(&json!({ "agent": agent, "model": model }))?;
        match self.run(&script::SET_LIMIT, args).await? {
            Answer::NotFound => Ok(false),
            other => other.ok().map(|_| true),
        }
    }

    async fn limit_named<T: DeserializeOwned>(&self, key: &str, name: &str) -> Result<Option<T>> {
        let json = self.command("HGET", key, &[name]).await?.into_string();
        json.map(|json| serde_json::from_str(&json).map_err(unreadable)).transpose()
    }

    /// All limits, ascending by name.
    async fn limits<T: DeserializeOwned>(&self, key: &str) -> Result<Vec<T>> {
        let all = self.walk(key, "*").await?;
        all.values().map(|json| serde_json::from_str(json).map_err(unreadable)).collect()
    }
}

#[async_trait]
impl AllowanceStore for RedisStore {
    async fn allowance(&self, agent: &AgentId) -> Result<Option<AgentAllowance>> {
        self.limit_named("allowances", agent.as_str()).await
    }

    async fn set_allowance(&self, allowance: AgentAllowance, now: Timestamp) -> Result<()> {
        allowance.validate()?;
        let json = serde_json::to_string(&allowance).map_err(unreadable)?;
        let agent = &allowance.agent_id;
        self.set_limit(("allowances", agent.as_str(), json), (Some(agent), None), now).await.map(drop)
    }

    async fn delete_allowance(&self, agent: &AgentId, now: Timestamp) -> Result<()> {
        let was =
            self.set_limit(("allowances", agent.as_str(), String::new()), (Some(agent), None), now).await?;
        if was { Ok(()) } else { Err(Error::not_found(Kind::Allowance, agent)) }
    }

    async fn allowances(&self) -> Result<Vec<AgentAllowance>> {
        self.limits("allowances").await
    }

    async fn model_quota(&self, model: &ModelName) -> Result<Option<ModelQuota>> {
        self.limit_named("quotas", model.as_str()).await
    }

    async fn set_model_quota(&self, quota: ModelQuota, now: Timestamp) -> Result<()> {
        let json = serde_json::to_string(&quota).map_err(unreadable)?;
        let model = &quota.model;
        self.set_limit(("quotas", model.as_str(), json), (None, Some(model)), now).await.map(drop)
    }

    async fn delete_model_quota(&self, model: &ModelName, now: Timestamp) -> Result<()> {
        let was = self.set_limit(("quotas", model.as_str(), String::new()), (None, Some(model)), now).await?;
        if was { Ok(()) } else { Err(Error::not_found(Kind::Model, model)) }
    }

    async fn model_quotas(&self) -> Result<Vec<ModelQuota>> {
        self.limits("quotas").await
    }

    async fn budgets(&self) -> Result<Vec<Budget>> {
        let budget = |stored: &String| {
            let (version, json) =
                stored.split_once(' ').ok_or_else(|| misshapen("a budget has no version"))?;
            let budget: Budget = serde_json::from_str(json).map_err(unreadable)?;
            Ok(Budget { version: version.parse().map_err(unreadable)?, ..budget })
        };
        self.walk("budgets", "*").await?.values().map(budget).collect()
    }

    async fn set_budget(&self, set: SetBudget) -> Result<Budget> {
        let SetBudget { budget, seen, now } = set;
        budget.validate()?;
        let scope = &budget.scope;
        let args = Args::at(now).value(scope).maybe(seen).json(&budget)?.json(&json!({ "scope": scope }))?;
        let version = self.ask(&script::SET_BUDGET, args).await?.parse_maybe()?;
        let version = version.ok_or_else(|| stale_version(scope))?;
        Ok(Budget { version, ..budget })
    }

    async fn delete_budget(&self, scope: &Scope, now: Timestamp) -> Result<()> {
        let args = Args::at(now)
            .value("budgets")
            .value(scope)
            .value("")
            .value("")
            .json(&json!({ "scope": scope }))?;
        match self.run(&script::SET_LIMIT, args).await? {
            Answer::NotFound => Err(Error::not_found(Kind::Budget, scope)),
            other => other.ok().map(drop),
        }
    }

    async fn limits_revision(&self) -> Result<u64> {
        let text = self.command("GET", "limits:revision", &[]).await?.into_string();
        text.map_or(Ok(0), |text| text.parse().map_err(unreadable))
    }

    async fn readings(&self, keys: &[MeterKey], now: Timestamp) -> Result<Vec<Reading>> {
        let mut readings = Vec::with_capacity(keys.len());
        for keys in pages(keys, now) {
            let limits: Vec<Limit> = keys.iter().map(|key| Limit { key: key.clone(), cap: None }).collect();
            let args = Args::at(now).json(&stored_limits(&limits))?;
            let answers = self.ask(&script::READINGS, args).await?.lists()?;
            for (key, mut reply) in keys.iter().zip(answers) {
                let reserved = held(&mut reply)?.of(key.meter);
                let buckets = buckets(&mut reply)?;
                readings.push(Reading { used: used(&buckets), reserved, buckets });
            }
        }
        Ok(readings)
    }

    async fn active_jobs(&self, agents: &[AgentId], now: Timestamp) -> Result<Vec<u32>> {
        let mut loads = Vec::with_capacity(agents.len());
        for page in agents.chunks(PAGE) {
            let scopes = page.iter().map(|agent| Scope::Agent(agent.clone()));
            let asked = self.ask(&script::ACTIVE_JOBS, scopes.fold(Args::at(now), Args::value));
            let mut counts = asked.await?.list()?;
            for _ in page {
                loads.push(counts.load()?);
            }
        }
        Ok(loads)
    }

    async fn job(&self, id: &JobId) -> Result<Option<Job>> {
        let cells = self.command("HGETALL", &format!("job:{id}"), &[]).await?;
        let cells = Reply::of(cells)?.into_cells()?;
        if cells.is_empty() { Ok(None) } else { job(&cells).map(Some) }
    }

    async fn admit(&self, admission: Admission) -> Result<Job> {
        let args = admission_args(Args::at(admission.now), &admission)?;
        self.job_step(&script::ADMIT, args, &admission.job, |rows| ledger::admit(rows, &admission)).await
    }

    async fn start(&self, start: StartJob) -> Result<Job> {
        let args = Args::at(start.now).value(&start.job);
        self.job_step(&script::START_JOB, args, &start.job, |rows| ledger::start_job(rows, &start)).await
    }

    async fn extend(&self, extend: Extend) -> Result<Job> {
        let args = Args::at(extend.now).value(&extend.job).time(extend.expires_at);
        self.job_step(&script::EXTEND, args, &extend.job, |rows| ledger::extend(rows, &extend)).await
    }

    async fn replan(&self, replan: Replan) -> Result<Job> {
        let args = Args::at(replan.now).value(&replan.job).json(&stored_limits(&replan.limits))?;
        self.job_step(&script::REPLAN, args, &replan.job, |rows| ledger::replan(rows, &replan)).await
    }

    async fn report(&self, report: Report) -> Result<UsageAnswer> {
        let stranger = Admission {
            job: report.job.clone(),
            id: String::new(),
            agent_id: report.agent_id.clone(),
            model: report.model.clone(),
            project: None,
            task_created_at: None,
            price: report.price,
            limits: report.limits.clone(),
            ask: Amount::ZERO,
            expires_at: report.expires_at,
            now: report.now,
        };
        let args = admission_args(Args::at(report.now), &stranger)?;
        let args =
            args.maybe(report.model.as_ref()).figures(Some(report.figures)).maybe(report.stop.as_ref());
        let mut reply = self.ask(&script::REPORT, args).await?;
        Ok(UsageAnswer {
            directive: named(&reply.text()?)?,
            reason: reply.maybe()?,
            remaining_tokens: reply.parse_maybe()?,
            cost_micros: reply.parse()?,
            cost_source: reply.maybe()?.as_deref().map(named).transpose()?,
            unadmitted: reply.maybe()?.is_some(),
            late: reply.maybe()?.is_some(),
        })
    }

    async fn settle(&self, settle: Settle) -> Result<Job> {
        let outcome = serde_json::to_value(settle.outcome).map_err(unreadable)?;
        let args = Args::at(settle.now).value(&settle.job).value(outcome.as_str().unwrap_or_default());
        self.job_step(&script::SETTLE, args, &settle.job, |rows| ledger::settle(rows, &settle)).await
    }

    async fn void(&self, void: VoidJob) -> Result<()> {
        let args = Args::at(void.now).value(&void.job).value(&void.admission);
        self.ask(&script::VOID, args).await.map(drop)
    }

    async fn expired(&self, expired: ExpiredJobs) -> Result<Vec<Job>> {
        let mut jobs: BTreeMap<JobId, Job> = BTreeMap::new();
        // In the order in which jobs move, so that one that moves meanwhile is seen twice and never missed.
        for key in ["open", "lapsed"] {
            let (mut found, mut last) = (0, None);
            while found < expired.limit {
                let args = following(Args::at(expired.now).value(key), &last);
                let mut reply =
                    self.ask(&script::EXPIRED_JOBS, args.value(JOBS.min(expired.limit - found))).await?;
                last = place(&mut reply)?;
                for cells in reply.lists()? {
                    let job = job(&cells.into_cells()?)?;
                    found += 1;
                    jobs.insert(job.id.clone(), job);
                }
                if last.is_none() {
                    break;
                }
            }
        }
        let mut jobs: Vec<Job> = jobs.into_values().collect();
        jobs.sort_by(|a, b| (a.expires_at, &a.id).cmp(&(b.expires_at, &b.id)));
        jobs.truncate(expired.limit);
        Ok(jobs)
    }

    async fn reset_usage(&self, reset: ResetUsage) -> Result<()> {
        let day = |meter| Limit::new(Scope::Agent(reset.agent_id.clone()), meter, Window::Day, None);
        let limits = [day(Meter::Tokens), day(Meter::Jobs)];
        let args = Args::at(reset.now).value(&reset.agent_id).json(&stored_limits(&limits))?;
        self.ask(&script::RESET_USAGE, args).await.map(drop)
    }

    async fn entries(&self, read: ReadEntries) -> Result<EntryPage> {
        self.page_of(&read).await
    }

    /// Holds each meter against the ledger as it stood when that meter was read; the whole ledger passes through.
    async fn verify(&self) -> Result<Vec<Difference>> {
        self.verified().await
    }
}

#[cfg(test)]
mod tests {
    use agentic_core::limit::{Meter, Scope, Window};

    use super::*;

    #[test]
    fn a_step_reads_few_meters_of_many_buckets_and_many_of_few() {
        let key = |window| MeterKey { scope: Scope::Fleet, meter: Meter::Tokens, window };
        let sizes = |windows: Vec<Window>| -> Vec<usize> {
            let keys: Vec<MeterKey> = windows.into_iter().map(key).collect();
            pages(&keys, Timestamp::EPOCH).map(<[MeterKey]>::len).collect()
        };
        assert_eq!(sizes(vec![Window::HOUR; 25]), [10, 10, 5]);
        assert_eq!(sizes(vec![Window::Day; 250]), [119, 119, 12]);
        assert_eq!(sizes([vec![Window::HOUR; 9], vec![Window::Day; 100]].concat()), [20, 89]);
        assert!(sizes(Vec::new()).is_empty());
    }
}
