-- Reads a part of the lanes that have a ready task, in the order of their heads; those of equal heads by name.
-- ARGV: now, score and name of the last one seen, how many. Answers ok with score and name of the last one ('' when the
-- list is at its end), the number of wake-ups, and for each lane its name, head and park.
-- Bound: as many lanes as it is asked for, three commands each.
local found, next_score, next_name = page_of(P .. 'lanes', maybe(), maybe(), tonumber(take()))
local views = {}
for i = 1, #found, 2 do
  local lane = found[i]
  local id = redis.call('ZRANGE', P .. 'lane:' .. lane, 0, 0)[1]
  local cells = redis.call('HMGET', P .. 'task:' .. id, 'rank', 'created_at', 'attempt', 'estimated_tokens')
  views[#views + 1] = { lane, id, cells[1], cells[2], cells[3], cells[4], redis.call('HGET', P .. 'parks', lane) or '' }
end
return { 'ok', next_score, next_name, redis.call('GET', P .. 'wake') or '0', views }
