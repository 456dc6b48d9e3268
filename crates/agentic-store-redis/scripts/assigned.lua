-- Reads the attempts assigned to one start of an agent and not started, oldest first.
-- ARGV: now, agent, incarnation, limit. Answers ok with the tasks.
local agent, incarnation, limit = take(), take(), tonumber(take())
local tasks = {}
for _, id in ipairs(redis.call('ZRANGE', P .. 'running:' .. agent, 0, -1)) do
  if #tasks >= limit then break end
  local t = load_hot(id)
  local attempt = redis.call('HMGET', P .. 'attempt:' .. job_id(id, t.attempt), 'incarnation', 'started_at')
  if attempt[1] == incarnation and not attempt[2] then tasks[#tasks + 1] = flat(load(id)) end
end
return { 'ok', tasks }
