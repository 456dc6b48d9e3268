-- What nobody admitted holds nothing.

DROP INDEX jobs_agent;
DROP INDEX jobs_model;
DROP INDEX jobs_project;
DROP INDEX jobs_expiry;

CREATE INDEX jobs_agent ON jobs (agent_id, expires_at, state, tokens, model)
    WHERE state IN ('reserved', 'started') AND unadmitted = 0;
CREATE INDEX jobs_model ON jobs (model, expires_at, state, tokens)
    WHERE state IN ('reserved', 'started') AND unadmitted = 0 AND model IS NOT NULL;
CREATE INDEX jobs_project ON jobs (project, expires_at, state, tokens)
    WHERE state IN ('reserved', 'started') AND unadmitted = 0 AND project IS NOT NULL;
CREATE INDEX jobs_expiry ON jobs (expires_at, task_id, attempt, state, tokens, unadmitted)
    WHERE state IN ('reserved', 'started');
