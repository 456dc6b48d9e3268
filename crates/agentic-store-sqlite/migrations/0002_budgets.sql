-- Budgets, and prices by category of tokens.

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
