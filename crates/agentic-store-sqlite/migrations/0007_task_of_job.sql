-- What tells the job of a task from that of an earlier one with the same id.

ALTER TABLE jobs ADD COLUMN task_created_at INTEGER;
