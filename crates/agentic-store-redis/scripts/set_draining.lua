-- Stops or resumes giving work to an agent.
-- ARGV: now, id, 'true' or 'false'. Answers ok with the record, or nf.
-- Bound: one agent.
local id, draining = take(), take() == 'true'
local a = registered(id)
if not a then return { 'nf' } end
a.draining = draining
return { 'ok', put_agent(id, a) }
