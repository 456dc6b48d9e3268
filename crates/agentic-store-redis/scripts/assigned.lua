-- Reads a part of the attempts assigned to one start of an agent and not started, oldest first.
-- ARGV: now, agent, incarnation, claim and id of the last one seen, how many to look at, how many to answer.
-- Answers ok with claim and id of the last one looked at ('' when the list is at its end), and the tasks.
-- Bound: as many tasks as it is told to look at.
local agent, incarnation, claimed_at, last, look, limit = take(), take(), maybe(), maybe(), tonumber(take()), tonumber(take())
local found, next_at, next_id = page_of(P .. 'running:' .. agent, claimed_at, last, look)
local tasks = {}
for i = 1, #found, 2 do
  local t = load_hot(found[i])
  local attempt = redis.call('HMGET', P .. 'attempt:' .. job_id(t.id, t.attempt), 'incarnation', 'started_at')
  if attempt[1] == incarnation and not attempt[2] then tasks[#tasks + 1] = flat(load(t.id)) end
  if #tasks == limit then
    next_at, next_id = found[i + 1], found[i]
    break
  end
end
return { 'ok', next_at, next_id, tasks }
