-- Reads a part of the ready tasks of a lane, as they will be taken.
-- ARGV: now, lane, score and id of the last one seen, how many. Answers ok with score and id of the last one ('' when the
-- list is at its end), and the heads.
-- Bound: as many tasks as it is asked for.
local found, next_score, next_id = page_of(P .. 'lane:' .. take(), maybe(), maybe(), tonumber(take()))
local heads = {}
for i = 1, #found, 2 do
  local cells = redis.call('HMGET', P .. 'task:' .. found[i], 'rank', 'created_at', 'attempt', 'estimated_tokens')
  heads[#heads + 1] = { found[i], cells[1], cells[2], cells[3], cells[4] }
end
return { 'ok', next_score, next_id, heads }
