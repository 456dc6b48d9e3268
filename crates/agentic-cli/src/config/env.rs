//! Every environment variable that the project reads; nothing else reads one.

/// Where the server is: `base_url`.
pub(crate) const BASE_URL: &str = "AGENTIC_BASE_URL";
/// What says who is calling: `token`.
pub(crate) const TOKEN: &str = "AGENTIC_TOKEN";
/// The project of tasks that name none: `default_project`. The Go library's name.
pub(crate) const PROJECT: &str = "AGENTIC_PROJECT";
/// The agent that `worker` runs: `agent_id`. Also set for the commands that a worker runs.
pub(crate) const AGENT_ID: &str = "AGENTIC_AGENT_ID";
/// The address that `serve` listens on: `listen`.
pub(crate) const LISTEN: &str = "AGENTIC_LISTEN";
/// Whether another address than a loopback one may be served without TLS: `allow_plaintext`.
pub(crate) const ALLOW_PLAINTEXT: &str = "AGENTIC_ALLOW_PLAINTEXT";
/// Where everything is kept: `store`.
pub(crate) const STORE: &str = "AGENTIC_STORE";
/// What is shown to the server that keeps the store: `store_token`.
pub(crate) const STORE_TOKEN: &str = "AGENTIC_STORE_TOKEN";
/// Where agents are kept: `registry`.
pub(crate) const REGISTRY: &str = "AGENTIC_REGISTRY";
/// Where allowances are kept: `allowance`.
pub(crate) const ALLOWANCE: &str = "AGENTIC_ALLOWANCE";
/// How a Redis is used: `redis`, as JSON.
pub(crate) const REDIS: &str = "AGENTIC_REDIS";
/// The server's own directory: `data_dir`.
pub(crate) const DATA_DIR: &str = "AGENTIC_DATA_DIR";
/// `heartbeat`.
pub(crate) const HEARTBEAT: &str = "AGENTIC_HEARTBEAT";
/// `lease`.
pub(crate) const LEASE: &str = "AGENTIC_LEASE";
/// `claim_lease`.
pub(crate) const CLAIM_LEASE: &str = "AGENTIC_CLAIM_LEASE";
/// `agent_ttl`.
pub(crate) const AGENT_TTL: &str = "AGENTIC_AGENT_TTL";
/// `drain_grace`.
pub(crate) const DRAIN_GRACE: &str = "AGENTIC_DRAIN_GRACE";
/// `dispatchers`.
pub(crate) const DISPATCHERS: &str = "AGENTIC_DISPATCHERS";
/// `tick`.
pub(crate) const TICK: &str = "AGENTIC_TICK";
/// `backoff_base`.
pub(crate) const BACKOFF_BASE: &str = "AGENTIC_BACKOFF_BASE";
/// `backoff_cap`.
pub(crate) const BACKOFF_CAP: &str = "AGENTIC_BACKOFF_CAP";
/// `undispatchable`.
pub(crate) const UNDISPATCHABLE: &str = "AGENTIC_UNDISPATCHABLE";
/// `default_allowance`, as JSON.
pub(crate) const DEFAULT_ALLOWANCE: &str = "AGENTIC_DEFAULT_ALLOWANCE";
/// `keep_tasks`.
pub(crate) const KEEP_TASKS: &str = "AGENTIC_KEEP_TASKS";
/// `keep_events`.
pub(crate) const KEEP_EVENTS: &str = "AGENTIC_KEEP_EVENTS";
/// `agents`, as JSON.
pub(crate) const AGENTS: &str = "AGENTIC_AGENTS";
/// `log`.
pub(crate) const LOG: &str = "AGENTIC_LOG";

/// The variables that set a key, with the key.
pub(crate) const KEYS: [(&str, &str); 27] = [
    (BASE_URL, "base_url"),
    (TOKEN, "token"),
    (PROJECT, "default_project"),
    (AGENT_ID, "agent_id"),
    (LISTEN, "listen"),
    (ALLOW_PLAINTEXT, "allow_plaintext"),
    (STORE, "store"),
    (STORE_TOKEN, "store_token"),
    (REGISTRY, "registry"),
    (ALLOWANCE, "allowance"),
    (REDIS, "redis"),
    (DATA_DIR, "data_dir"),
    (HEARTBEAT, "heartbeat"),
    (LEASE, "lease"),
    (CLAIM_LEASE, "claim_lease"),
    (AGENT_TTL, "agent_ttl"),
    (DRAIN_GRACE, "drain_grace"),
    (DISPATCHERS, "dispatchers"),
    (TICK, "tick"),
    (BACKOFF_BASE, "backoff_base"),
    (BACKOFF_CAP, "backoff_cap"),
    (UNDISPATCHABLE, "undispatchable"),
    (DEFAULT_ALLOWANCE, "default_allowance"),
    (KEEP_TASKS, "keep_tasks"),
    (KEEP_EVENTS, "keep_events"),
    (AGENTS, "agents"),
    (LOG, "log"),
];

/// The user's home.
pub(crate) const HOME: &str = "HOME";
/// Where the user's files of settings are.
pub(crate) const XDG_CONFIG_HOME: &str = "XDG_CONFIG_HOME";
/// Where the user's data of programs are.
pub(crate) const XDG_STATE_HOME: &str = "XDG_STATE_HOME";
/// Set to anything, output has no colours (<https://no-color.org>).
pub(crate) const NO_COLOR: &str = "NO_COLOR";
/// `dumb` for a terminal that cannot move its cursor.
pub(crate) const TERM: &str = "TERM";
/// Which attempt the command of a worker is; read by the demo's agent.
pub(crate) const ATTEMPT: &str = "AGENTIC_ATTEMPT";
/// Where the command of a worker appends its reports; read by the demo's agent.
pub(crate) const REPORT_FILE: &str = "AGENTIC_REPORT_FILE";
