-- Marks an attempt as started: the task's half of `start`.
-- ARGV: now, the start. Answers ok with the task; nf; or no.
-- Bound: one task and its attempt.
local s = take_start()
local t = load(s.task)
if not t then return { 'nf' } end
local attempt, seen, only_now = prepare_start(s, t)
if not attempt then return no(t, seen) end
if only_now then redis.call('HSET', P .. 'attempt:' .. s.job, 'started_at', NOW) end
return { 'ok', flat(t) }
