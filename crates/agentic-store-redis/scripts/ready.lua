-- Reads the first ready tasks of a lane.
-- ARGV: now, lane, limit. Answers ok with the heads.
local lane, limit = take(), tonumber(take())
local heads = {}
if limit > 0 then
  for i, id in ipairs(redis.call('ZRANGE', P .. 'lane:' .. lane, 0, limit - 1)) do
    local cells = redis.call('HMGET', P .. 'task:' .. id, 'rank', 'created_at', 'attempt', 'estimated_tokens')
    heads[i] = { id, cells[1], cells[2], cells[3], cells[4] }
  end
end
return { 'ok', heads }
