-- Renews the lease of a running attempt.
-- ARGV: now, task, attempt, agent, expires_at. Answers ok with the task; nf; or no.
-- Bound: one task.
local id, attempt, agent, expires_at = take(), take(), take(), take()
local was = load(id)
if not was then return { 'nf' } end
if not holds(was, agent, attempt) then return no(was) end
local t = copy(was)
t.lease_expires_at = expires_at
put(t, was)
return { 'ok', flat(t) }
