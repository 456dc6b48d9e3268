-- The first schema. Instants are milliseconds since 1970; amounts are integers up to 2^53 - 1.

PRAGMA application_id = 1634168436; -- "agnt"

-- Foreign keys are deferred to the commit: checked at once, SQLite would keep a journal for each statement.

-- What changes while a task lives, and what it is found by. Long texts stand apart, so that these rows stay short.
CREATE TABLE tasks (
    seq               INTEGER PRIMARY KEY,
    id                TEXT NOT NULL UNIQUE,
    status            TEXT NOT NULL,
    priority          INTEGER NOT NULL, -- 0 critical to 3 low
    lane              TEXT NOT NULL,    -- labels|model|project: the truth for all three
    project           TEXT,
    created_at        INTEGER NOT NULL,
    updated_at        INTEGER NOT NULL,
    ready             INTEGER NOT NULL, -- 1 while it stands in its lane
    ready_at          INTEGER NOT NULL, -- the later of not_before and retry_at
    lapsed            INTEGER NOT NULL,
    open_dependencies INTEGER NOT NULL,
    blocked_by        INTEGER NOT NULL, -- 1 by dependencies, 2 by hand, 3 by both
    not_before        INTEGER,
    retry_at          INTEGER,
    claimed_by        TEXT,
    claimed_at        INTEGER,
    lease_expires_at  INTEGER,          -- only while in progress
    attempt           INTEGER NOT NULL,
    max_retries       INTEGER NOT NULL,
    retry_count       INTEGER NOT NULL,
    last_attempt      INTEGER,
    progress          INTEGER NOT NULL,
    estimated_tokens  INTEGER NOT NULL
) STRICT;

CREATE INDEX tasks_age ON tasks (created_at, id);
CREATE INDEX tasks_status ON tasks (status, created_at, id);
CREATE INDEX tasks_project ON tasks (project, created_at, id) WHERE project IS NOT NULL;
CREATE INDEX tasks_holder ON tasks (claimed_by, created_at, id) WHERE claimed_by IS NOT NULL;
CREATE INDEX tasks_lane ON tasks (lane, priority, created_at, id) WHERE ready = 1;
CREATE INDEX tasks_due ON tasks (ready_at, id) WHERE status = 'pending' AND ready = 0;
CREATE INDEX tasks_lease ON tasks (lease_expires_at, id) WHERE lease_expires_at IS NOT NULL;

CREATE TABLE task_texts (
    seq             INTEGER PRIMARY KEY REFERENCES tasks (seq) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    title           TEXT NOT NULL,
    description     TEXT NOT NULL,
    files           TEXT, -- JSON; absent = none
    dependencies    TEXT, -- JSON, in the submitter's order; absent = none
    idempotency_key TEXT,
    request_digest  TEXT NOT NULL,
    fail_reason     TEXT,
    last_error      TEXT,
    notes           TEXT,
    result          TEXT, -- JSON
    deferred        TEXT  -- JSON
) STRICT;

CREATE UNIQUE INDEX task_texts_key ON task_texts (idempotency_key) WHERE idempotency_key IS NOT NULL;

CREATE TABLE dependencies (
    dependency TEXT NOT NULL REFERENCES tasks (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    task_id    TEXT NOT NULL REFERENCES tasks (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    PRIMARY KEY (dependency, task_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX dependencies_task ON dependencies (task_id);

CREATE TABLE attempts (
    task_id     TEXT NOT NULL REFERENCES tasks (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    attempt     INTEGER NOT NULL,
    agent_id    TEXT NOT NULL,
    incarnation INTEGER NOT NULL,
    claimed_at  INTEGER NOT NULL,
    lease_ms    INTEGER NOT NULL,
    deadline    INTEGER,
    started_at  INTEGER,
    ended_at    INTEGER,
    outcome     TEXT,
    digest      TEXT,
    late_digest TEXT,
    PRIMARY KEY (task_id, attempt)
) STRICT, WITHOUT ROWID;

CREATE INDEX attempts_unstarted ON attempts (agent_id, incarnation, claimed_at, task_id)
    WHERE started_at IS NULL AND ended_at IS NULL;

CREATE TABLE parks (
    lane      TEXT NOT NULL PRIMARY KEY,
    code      TEXT NOT NULL,
    detail    TEXT NOT NULL,
    retry_at  INTEGER,
    scope     TEXT,
    parked_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX parks_scope ON parks (scope, lane) WHERE scope IS NOT NULL;

CREATE TABLE agents (
    id             TEXT NOT NULL PRIMARY KEY,
    name           TEXT NOT NULL,
    capabilities   TEXT NOT NULL, -- JSON
    models         TEXT NOT NULL, -- JSON, the default first
    status         TEXT NOT NULL,
    draining       INTEGER NOT NULL,
    last_heartbeat INTEGER NOT NULL,
    max_load       INTEGER NOT NULL,
    registered_at  INTEGER NOT NULL,
    incarnation    INTEGER NOT NULL,
    deregistered   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX agents_alive ON agents (last_heartbeat, id) WHERE status <> 'offline';

CREATE TABLE allowances (
    agent_id              TEXT NOT NULL PRIMARY KEY,
    daily_token_limit     INTEGER NOT NULL,
    daily_job_limit       INTEGER NOT NULL,
    concurrent_jobs       INTEGER NOT NULL,
    max_job_duration_secs INTEGER NOT NULL,
    model_allowlist       TEXT NOT NULL -- JSON
) STRICT, WITHOUT ROWID;

CREATE TABLE quotas (
    model              TEXT NOT NULL PRIMARY KEY,
    daily_token_budget INTEGER NOT NULL,
    hourly_rate_limit  INTEGER NOT NULL,
    cost_ceiling       INTEGER NOT NULL,
    price_input        INTEGER,
    price_output       INTEGER,
    cost               TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- No foreign key to tasks: where tasks live apart, jobs stand here alone, and a job outlives a pruned task.
CREATE TABLE jobs (
    task_id     TEXT NOT NULL,
    attempt     INTEGER NOT NULL,
    admission   TEXT NOT NULL,
    agent_id    TEXT NOT NULL,
    model       TEXT,
    project     TEXT,
    state       TEXT NOT NULL,
    outcome     TEXT,
    ask         INTEGER NOT NULL,
    tokens      INTEGER NOT NULL, -- what is left of the ask
    admitted_at INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    started_at  INTEGER,
    stopped     INTEGER NOT NULL,
    unadmitted  INTEGER NOT NULL,
    late        INTEGER NOT NULL,
    terms       TEXT NOT NULL, -- JSON: by model, the price and the limits pinned
    usage       TEXT,          -- JSON: by model, what was used; absent = nothing
    UNIQUE (task_id, attempt)
) STRICT;

-- What is held under a scope is read from these alone.
CREATE INDEX jobs_agent ON jobs (agent_id, expires_at, state, tokens, model) WHERE state IN ('reserved', 'started');
CREATE INDEX jobs_model ON jobs (model, expires_at, state, tokens)
    WHERE state IN ('reserved', 'started') AND model IS NOT NULL;
CREATE INDEX jobs_project ON jobs (project, expires_at, state, tokens)
    WHERE state IN ('reserved', 'started') AND project IS NOT NULL;
CREATE INDEX jobs_expiry ON jobs (expires_at, task_id, attempt, state, tokens) WHERE state IN ('reserved', 'started');

CREATE TABLE meters (
    scope  TEXT NOT NULL,
    meter  TEXT NOT NULL,
    period TEXT NOT NULL,
    bucket INTEGER NOT NULL,
    value  INTEGER NOT NULL,
    PRIMARY KEY (scope, meter, period, bucket)
) STRICT, WITHOUT ROWID;

-- Append-only, but for the oldest, which are folded into the opening balance: the meters are the sum of both.
CREATE TABLE entries (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    kind     TEXT NOT NULL,
    at       INTEGER NOT NULL,
    job      TEXT,
    agent_id TEXT NOT NULL,
    model    TEXT,
    moves    TEXT NOT NULL -- JSON: [scope, meter, period, bucket, delta]
) STRICT;

CREATE TABLE opening (
    scope  TEXT NOT NULL,
    meter  TEXT NOT NULL,
    period TEXT NOT NULL,
    bucket INTEGER NOT NULL,
    value  INTEGER NOT NULL,
    PRIMARY KEY (scope, meter, period, bucket)
) STRICT, WITHOUT ROWID;

-- AUTOINCREMENT: a number is never given twice, not even after the newest events were trimmed.
CREATE TABLE events (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    type     TEXT NOT NULL,
    task_id  TEXT,
    agent_id TEXT,
    at       INTEGER NOT NULL,
    payload  TEXT, -- JSON
    pruned   INTEGER NOT NULL DEFAULT 0 -- 1 once its task was pruned: no history of a later task with that id
) STRICT;

CREATE INDEX events_task ON events (task_id) WHERE task_id IS NOT NULL AND pruned = 0;

CREATE TABLE settings (
    key   TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE counters (
    name  TEXT NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- wake: wake-ups of lanes; limits: changes of allowances and quotas; trimmed: the newest event that was trimmed.
INSERT INTO counters (name, value) VALUES ('wake', 0), ('limits', 0), ('trimmed', 0);
