-- An ended job goes with its task; one that has none here goes by the age of its end.

ALTER TABLE jobs ADD COLUMN ended_at INTEGER; -- absent while it is open
ALTER TABLE jobs ADD COLUMN kept INTEGER NOT NULL DEFAULT 0; -- 1 once its task was seen to stand here
UPDATE jobs SET ended_at = expires_at WHERE state NOT IN ('reserved', 'started');

CREATE INDEX jobs_ended ON jobs (ended_at, task_id, attempt) WHERE kept = 0 AND ended_at IS NOT NULL;
