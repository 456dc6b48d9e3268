-- Marks agents offline that were last heard of before an instant.
-- ARGV: now, before, limit. Answers ok with their ids, ascending: where many are silent, of those that are so longest.
-- Bound: as many agents as it is told, of the 1,000 that are silent longest.
local before, limit = take(), tonumber(take())
local silent = redis.call('ZRANGEBYSCORE', P .. 'heard', '-inf', '(' .. before, 'LIMIT', 0, 1000)
table.sort(silent)
local ids = {}
for i = 1, math.min(limit, #silent) do
  local id = silent[i]
  local a = load_agent(id)
  if a and a.incarnation then
    a.status = 'offline'
    put_agent(id, a)
    emit('agent_offline', nil, id)
    ids[#ids + 1] = id
  else
    -- A record that cannot be read keeps nobody else from being marked.
    redis.call('ZREM', P .. 'heard', id)
  end
end
return { 'ok', ids }
