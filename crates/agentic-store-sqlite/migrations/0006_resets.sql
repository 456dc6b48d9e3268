-- When the day of an agent was last reset: what was charged before is not given back to it.

CREATE TABLE resets (
    agent_id TEXT NOT NULL PRIMARY KEY,
    at       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
