-- Admits a job and claims its task, or changes nothing.
-- ARGV: now, the claim, the admission. Answers ok with the task; nf; full with the
-- limit that has no room and its figures; no with task, job and agent; or again.
-- Bound: one task and the limits of one job, each of 61 buckets at most, and a sweep.
local c, a = take_claim(), take_admission()
local wait = sweep()
if wait then return wait end
local was = load(c.task)
if not was then return { 'nf' } end
local t = copy(was)
if not step_claim(t, c) then return no(was) end

-- Whether the agent may be given work; one that never registered may take some itself.
local agent = registered(c.agent)
local may
if agent then
  may = (not c.incarnation or c.incarnation == agent.incarnation) and not agent.draining
    and not (c.dispatched and agent.status == 'offline')
else
  may = not c.incarnation and not c.dispatched
end
if not may then return no(was, nil, nil, agent and agent.json) end

local j, stands = prepare_admission(a, true)
if not j then
  if stands[1] == 'no' then return no(was, nil, load_job(a.job), agent and agent.json) end
  return stands
end
if not c.dispatched and j.state == 'reserved' then mark_started(j) end
put_job(j, stands)
commit_claim(c, t, was)
return { 'ok', flat(t) }
