-- Marks agents offline that were last heard of before an instant.
-- ARGV: now, before, limit. Answers ok with their ids, ascending: where many are silent, of those that are so longest.
-- Bound: as many agents as it is told, of the 1,000 that are silent longest.
local before, limit = take(), tonumber(take())
local silent = redis.call('ZRANGEBYSCORE', P .. 'heard', '-inf', '(' .. before, 'LIMIT', 0, 1000)
table.sort(silent)
local ids = {}
for i = 1, math.min(limit, #silent) do
  local a = load_agent(silent[i])
  a.status = 'offline'
  put_agent(silent[i], a)
  emit('agent_offline', nil, silent[i])
  ids[i] = silent[i]
end
return { 'ok', ids }
