-- Budgets, prices by category of tokens, and a ledger that is read by agent and forgets what counts no more.

CREATE TABLE budgets (
    scope   TEXT NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL, -- the revision of the limits that made it what it is
    limits  TEXT NOT NULL,    -- JSON
    hold    TEXT              -- JSON
) STRICT, WITHOUT ROWID;

-- Absent = as the input, and as the output.
ALTER TABLE quotas ADD COLUMN price_cache_read INTEGER;
ALTER TABLE quotas ADD COLUMN price_cache_write INTEGER;
ALTER TABLE quotas ADD COLUMN price_reasoning INTEGER;

-- Where the money of a charge comes from: 'priced' or 'reported'; absent = it moved none.
ALTER TABLE entries ADD COLUMN cost_source TEXT;

CREATE INDEX entries_agent ON entries (agent_id);

-- When the bucket stops counting; absent = never, or folded before there was this column.
ALTER TABLE opening ADD COLUMN frees_at INTEGER;
CREATE INDEX opening_due ON opening (frees_at) WHERE frees_at IS NOT NULL;
