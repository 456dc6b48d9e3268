-- Puts a pending task off for itself.
-- ARGV: now, task, attempt, reason (JSON), until, seen. Answers ok with the task; nf; no; or stale when something was woken
-- since.
-- Bound: one task.
local id, attempt, reason, until_at, seen = take(), take(), take(), take(), maybe()
local was = load(id)
if not was then return { 'nf' } end
if was.attempt ~= attempt then return no(was) end
if is_stale(seen) then return { 'stale' } end
if was.status ~= 'pending' then return no(was) end
local t = copy(was)
t.retry_at = until_at
t.deferred = reason
-- Nobody touched the task: an attempt that lapsed may still complete it.
t.ready = ready_at(t) <= now and '1' or nil
settle(t)
put(t, was)
return { 'ok', flat(t) }
