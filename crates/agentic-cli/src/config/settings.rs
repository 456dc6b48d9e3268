//! Every setting, with its default.

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf, time::Duration};

use agentic_core::{
    amount::Amount,
    backoff::Backoff,
    error::{Error, Result},
    id::{AgentId, Label, ModelName, ProjectName},
};
use agentic_dispatch::{DefaultAllowance, Policy, Undispatchable};
use agentic_store_redis::{RedisOptions, Safety};
use serde::{Deserialize, Serialize};

use super::{Secret, duration};
use crate::store::{BackendUrls, StoreUrl};

/// The most dispatchers of one server: each reads the ready lanes whenever something happens.
const MAX_DISPATCHERS: usize = 16;

/// Every setting. A file may name any of them; durations are written as `10s`, `5m`, `1h 30m`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// Where the server is; `http://localhost:8080`.
    pub base_url: String,
    /// What says who is calling; absent = the server's own admin token, where it runs on this machine.
    pub token: Option<Secret>,
    /// The project of submitted tasks that name none; absent = none.
    pub default_project: Option<ProjectName>,
    /// The agent that `worker` runs; absent = `--agent-id` says so.
    pub agent_id: Option<AgentId>,
    /// The address that `serve` listens on; `127.0.0.1:8080`.
    pub listen: SocketAddr,
    /// Whether an address that is not a loopback one may be served without TLS; no.
    pub allow_plaintext: bool,
    /// Where everything is kept: `memory:`, `sqlite:PATH`, `redis://…`, or `http://…` for another server that keeps
    /// it; absent = `sqlite:` in `data_dir`.
    pub store: Option<String>,
    /// What says who is calling the server that keeps the store; absent = nothing.
    pub store_token: Option<Secret>,
    /// Where agents are kept: `memory:`, `sqlite:PATH` or `redis://…`; absent = in the store.
    pub registry: Option<String>,
    /// Where allowances and what was used are kept, likewise.
    pub allowance: Option<String>,
    /// How a Redis is used.
    pub redis: RedisSettings,
    /// The server's directory, for its token and its database; `$XDG_STATE_HOME/agentic`.
    pub data_dir: PathBuf,
    /// How often an agent says that it lives; 10s.
    #[serde(with = "duration")]
    pub heartbeat: Duration,
    /// How long an attempt's lease lasts without a heartbeat, at least three of them; 60s.
    #[serde(with = "duration")]
    pub lease: Duration,
    /// How long the lease of an attempt lasts that an agent claimed itself without saying; 1h.
    #[serde(with = "duration")]
    pub claim_lease: Duration,
    /// After how long a silence an agent is offline; 30s.
    #[serde(with = "duration")]
    pub agent_ttl: Duration,
    /// How long a worker that is told to end waits for its attempts before it gives them back; 30s.
    #[serde(with = "duration")]
    pub drain_grace: Duration,
    /// How many dispatchers a server runs; 1.
    pub dispatchers: usize,
    /// How often the dispatcher looks without being woken; 5s.
    #[serde(with = "duration")]
    pub tick: Duration,
    /// How long a task waits after its first failure, doubling with each; 5s.
    #[serde(with = "duration")]
    pub backoff_base: Duration,
    /// The longest that a failed task waits; 1h.
    #[serde(with = "duration")]
    pub backoff_cap: Duration,
    /// Whether a task that nobody can take waits (`defer`) or burns retries (`count`); `defer`.
    pub undispatchable: UndispatchableSetting,
    /// What an agent may use that has no allowance of its own; `null` = nothing.
    pub default_allowance: Option<AllowanceSettings>,
    /// How long finished tasks are kept; 30days.
    #[serde(with = "duration")]
    pub keep_tasks: Duration,
    /// How long events are kept; 30days.
    #[serde(with = "duration")]
    pub keep_events: Duration,
    /// The agents that `up` runs beside the server; none.
    pub agents: Vec<AgentSettings>,
    /// What a server or a worker logs, as `tracing` directives; `info`.
    pub log: String,
}

/// What happens to a task that no agent can take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum UndispatchableSetting {
    /// It waits; nothing is burnt.
    #[default]
    Defer,
    /// Each look that finds nobody is a failed attempt.
    Count,
}

/// An allowance in a file of settings; 0 or empty = unlimited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AllowanceSettings {
    /// Tokens a UTC day.
    pub daily_token_limit: Amount,
    /// Jobs a UTC day.
    pub daily_job_limit: Amount,
    /// Jobs at once.
    pub concurrent_jobs: Amount,
    /// How long one attempt may take.
    #[serde(with = "duration")]
    pub max_job_duration: Duration,
    /// The models that it may use.
    pub model_allowlist: BTreeSet<ModelName>,
}

/// How a Redis is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RedisSettings {
    /// What all keys of the fleet begin with; `agentic`.
    pub prefix: String,
    /// How many connections share the commands; 4.
    pub pool: usize,
    /// How long to wait for a connection; 5s.
    #[serde(with = "duration")]
    pub connect_timeout: Duration,
    /// How long to wait for an answer; 5s.
    #[serde(with = "duration")]
    pub command_timeout: Duration,
    /// What to do about a server that may lose what was acknowledged; `refuse`.
    pub safety: SafetySetting,
}

impl Default for RedisSettings {
    fn default() -> Self {
        Self {
            prefix: RedisOptions::PREFIX.to_owned(),
            pool: RedisOptions::POOL,
            connect_timeout: RedisOptions::CONNECT_TIMEOUT,
            command_timeout: RedisOptions::COMMAND_TIMEOUT,
            safety: SafetySetting::default(),
        }
    }
}

/// What to do about a Redis that may lose or evict what was acknowledged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SafetySetting {
    /// Refuse to start.
    #[default]
    Refuse,
    /// Say so in the log, and go on.
    Warn,
}

/// An agent that `up` runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AgentSettings {
    /// Its id.
    pub agent_id: AgentId,
    /// For people; absent = the id.
    #[serde(default)]
    pub name: String,
    /// The labels that it can serve.
    #[serde(default)]
    pub capabilities: BTreeSet<Label>,
    /// The models that it can use, the default first; empty = any.
    #[serde(default)]
    pub models: Vec<ModelName>,
    /// How many attempts at once; 1.
    #[serde(default = "one")]
    pub max_load: u32,
    /// Where its command runs; absent = the working directory.
    #[serde(default)]
    pub workdir: Option<PathBuf>,
    /// The command and its arguments, run once for each attempt.
    pub command: Vec<String>,
}

fn one() -> u32 {
    1
}

/// The shipped allowance of an agent without one: finite, so that nothing runs away, and generous.
fn shipped_allowance() -> AllowanceSettings {
    AllowanceSettings {
        daily_token_limit: Amount::saturating(50_000_000),
        daily_job_limit: Amount::saturating(5_000),
        concurrent_jobs: Amount::saturating(32),
        max_job_duration: Duration::from_hours(4),
        model_allowlist: BTreeSet::new(),
    }
}

impl Default for Settings {
    fn default() -> Self {
        let policy = Policy::default();
        Self {
            base_url: "http://localhost:8080".to_owned(),
            token: None,
            default_project: None,
            agent_id: None,
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            allow_plaintext: false,
            store: None,
            store_token: None,
            registry: None,
            allowance: None,
            redis: RedisSettings::default(),
            data_dir: PathBuf::new(),
            heartbeat: policy.heartbeat,
            lease: policy.lease,
            claim_lease: policy.claim_lease,
            agent_ttl: policy.agent_ttl,
            drain_grace: Duration::from_secs(30),
            dispatchers: 1,
            tick: policy.tick,
            backoff_base: policy.backoff.base,
            backoff_cap: policy.backoff.cap,
            undispatchable: UndispatchableSetting::Defer,
            default_allowance: Some(shipped_allowance()),
            keep_tasks: policy.keep_tasks,
            keep_events: policy.keep_events,
            agents: Vec::new(),
            log: "info".to_owned(),
        }
    }
}

impl Settings {
    /// The store's URL: the one that was set, else SQLite in the data directory.
    pub(crate) fn store_url(&self) -> String {
        let ours = || format!("sqlite:{}", self.data_dir.join("agentic.db").display());
        self.store.clone().unwrap_or_else(ours)
    }

    /// Where everything is kept.
    ///
    /// # Errors
    /// `Invalid` for a URL of no known kind, naming the known ones.
    pub(crate) fn backends(&self) -> Result<BackendUrls> {
        let apart = |key: &str, url: &Option<String>| {
            url.as_ref().map(|url| StoreUrl::parse_for(key, url)).transpose()
        };
        Ok(BackendUrls {
            store: self.store_url().parse()?,
            registry: apart("registry", &self.registry)?,
            allowance: apart("allowance", &self.allowance)?,
        })
    }

    /// How a Redis is opened.
    pub(crate) fn redis_options(&self) -> RedisOptions {
        let RedisSettings { prefix, pool, connect_timeout, command_timeout, safety } = &self.redis;
        let safety = match safety {
            SafetySetting::Refuse => Safety::Refuse,
            SafetySetting::Warn => Safety::Warn,
        };
        RedisOptions::new()
            .prefix(prefix)
            .pool(*pool)
            .connect_timeout(*connect_timeout)
            .command_timeout(*command_timeout)
            .heartbeat(self.heartbeat)
            .safety(safety)
    }

    /// What the dispatcher and the services go by.
    ///
    /// # Errors
    /// `Invalid` for times that cannot work together.
    pub(crate) fn policy(&self) -> Result<Policy> {
        let policy = Policy {
            heartbeat: self.heartbeat,
            lease: self.lease,
            claim_lease: self.claim_lease,
            agent_ttl: self.agent_ttl,
            backoff: Backoff { base: self.backoff_base, cap: self.backoff_cap },
            tick: self.tick,
            default_allowance: self.default_allowance.clone().map(Into::into),
            undispatchable: match self.undispatchable {
                UndispatchableSetting::Defer => Undispatchable::Defer,
                UndispatchableSetting::Count => Undispatchable::Count,
            },
            keep_tasks: self.keep_tasks,
            keep_events: self.keep_events,
            ..Policy::default()
        };
        if self.dispatchers > MAX_DISPATCHERS {
            return Err(Error::invalid("dispatchers", format!("must be at most {MAX_DISPATCHERS}")));
        }
        policy.validate()?;
        Ok(policy)
    }
}

impl From<AllowanceSettings> for DefaultAllowance {
    fn from(settings: AllowanceSettings) -> Self {
        let AllowanceSettings {
            daily_token_limit,
            daily_job_limit,
            concurrent_jobs,
            max_job_duration,
            model_allowlist,
        } = settings;
        Self { daily_token_limit, daily_job_limit, concurrent_jobs, max_job_duration, model_allowlist }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use super::*;

    const REFERENCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/agentic.yaml");

    #[test]
    fn the_reference_says_the_defaults() {
        let text = std::fs::read_to_string(REFERENCE).unwrap();
        let settings: Settings = crate::yaml::parse(&text, "the reference").unwrap();
        assert_eq!(settings, Settings::default());
    }

    /// The store's own defaults are those of a configuration that says nothing.
    #[test]
    fn a_redis_is_opened_as_the_store_would_by_itself() {
        assert_eq!(Settings::default().redis_options(), RedisOptions::new());
    }

    #[test]
    fn the_reference_has_every_key() {
        let text = std::fs::read_to_string(REFERENCE).unwrap();
        // Examples are commented out with a `#` alone, talk with a `#` and one space.
        let is_talk = |line: &str| line.starts_with("# ") && !line.starts_with("#  ");
        let example = |line: &str| line.len() > 1 && line.starts_with('#') && !is_talk(line);
        let all: String = text
            .lines()
            .map(|line| if example(line) { &line[1..] } else { line })
            .flat_map(|line| [line, "\n"])
            .collect();
        crate::yaml::parse::<Settings>(&all, "the examples").unwrap();
        let named: BTreeMap<String, Value> = crate::yaml::parse(&all, "the examples").unwrap();
        let Value::Object(keys) = serde_json::to_value(Settings::default()).unwrap() else { panic!() };
        assert_eq!(named.keys().collect::<Vec<_>>(), keys.keys().collect::<Vec<_>>());
        let agent = named["agents"][0].as_object().unwrap();
        assert_eq!(
            agent.keys().collect::<Vec<_>>(),
            ["agent_id", "capabilities", "command", "max_load", "models", "name", "workdir"]
        );
    }

    #[test]
    fn the_shipped_policy_is_valid_and_finite() {
        let policy = Settings::default().policy().unwrap();
        let allowance = policy.default_allowance.unwrap();
        assert!(!allowance.daily_token_limit.is_zero() && !allowance.daily_job_limit.is_zero());
    }
}
