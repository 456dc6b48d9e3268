-- Ends a task that is not over.
-- ARGV: now, task, status, outcome of a running attempt, reason. Answers ok with the task; nf; or no.
-- Bound: one task and its attempt.
local id, status, outcome, reason = take(), take(), take(), take()
local was = load(id)
if not was then return { 'nf' } end
if is_over(was.status) then return no(was) end
local t = copy(was)
local ran = was.status == 'in_progress'
if ran then t.last_attempt = NOW else t.claimed_by = nil end
t.blocked_by = nil
t.status = status
t.fail_reason = reason
say_held(status == 'failed' and 'task_dead_lettered' or 'task_cancelled', was, '"reason":' .. q(reason))
settle(t)
put(t, was)
if ran then
  redis.call('HSET', P .. 'attempt:' .. job_id(id, was.attempt), 'ended_at', NOW, 'outcome', outcome)
end
tell(id)
return { 'ok', flat(t) }
