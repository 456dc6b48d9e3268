-- Takes a pending task for an agent: the task's half of `assign`.
-- ARGV: now, the claim. Answers ok with the task; nf; or no.
-- Bound: one task and its attempt.
local c = take_claim()
local was = load(c.task)
if not was then return { 'nf' } end
local t = copy(was)
if not step_claim(t, c) then return no(was) end
commit_claim(c, t, was)
return { 'ok', flat(t) }
