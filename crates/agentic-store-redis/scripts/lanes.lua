-- Reads the lanes that have a ready task, in the order of their heads; those of equal heads stand in any order and may
-- be more than asked for.
-- ARGV: now, limit. Answers ok with the number of wake-ups, and for each lane its name, head and park.
local limit = tonumber(take())
local lanes = {}
if limit > 0 then
  lanes = redis.call('ZRANGE', P .. 'lanes', 0, limit - 1, 'WITHSCORES')
  if #lanes == 2 * limit then lanes = redis.call('ZRANGEBYSCORE', P .. 'lanes', '-inf', lanes[#lanes], 'WITHSCORES') end
end
local views = {}
for i = 1, #lanes, 2 do
  local id = redis.call('ZRANGE', P .. 'lane:' .. lanes[i], 0, 0)[1]
  local cells = redis.call('HMGET', P .. 'task:' .. id, 'rank', 'created_at', 'attempt', 'estimated_tokens')
  views[#views + 1] = {
    lanes[i], id, cells[1], cells[2], cells[3], cells[4], redis.call('HGET', P .. 'parks', lanes[i]) or ''
  }
end
return { 'ok', redis.call('GET', P .. 'wake') or '0', views }
