-- Sets meters of an agent to zero by a balancing entry.
-- ARGV: now, agent, the limits as JSON. Answers ok.
-- Bound: the meters that it is given.
local agent, moves = take(), {}
for _, limit in ipairs(cjson.decode(take())) do
  local list = buckets_of(limit)
  local stands = tonumber(list[2]) or 0
  if stands ~= 0 then moves[#moves + 1] = { limit, bucket_of(limit, now), n(-stands) } end
end
redis.call('HSET', P .. 'resets', agent, n(math.max(now, reset_of(agent))))
book('reset', nil, agent, nil, moves)
return { 'ok' }
