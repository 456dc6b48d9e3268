-- Puts a failed or cancelled task back.
-- ARGV: now, task. Answers ok with the task; nf; or no.
-- Bound: one task.
local id = take()
local was = load(id)
if not was then return { 'nf' } end
if was.status ~= 'failed' and was.status ~= 'cancelled' then return no(was) end
local t = copy(was)
t.retry_count = '0'
t.retry_at = nil
t.progress = '0'
t.fail_reason = nil
t.deferred = nil
say('task_requeued', nil, '{}')
t.blocked_by = tonumber(t.open) > 0 and 'dependency' or nil
enqueue(t)
settle(t)
put(t, was)
tell(id)
return { 'ok', flat(t) }
