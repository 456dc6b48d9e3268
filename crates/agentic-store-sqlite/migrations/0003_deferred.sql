-- Tasks that are put off for themselves are found when a limit is raised.

CREATE INDEX task_texts_deferred ON task_texts (seq) WHERE deferred IS NOT NULL;
