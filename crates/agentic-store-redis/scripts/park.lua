-- Parks a lane.
-- ARGV: now, lane, seen, scope, code (JSON), reason (JSON), parked_at, and for each event that tells of it type, task,
-- agent, at, payload. Answers ok, or stale when something was woken since.
-- Bound: one lane, and the events that it is given.
local lane, seen, scope, code, reason, parked_at = take(), take(), take(), take(), take(), take()
if is_stale(seen) then return { 'stale' } end
local before = redis.call('HGET', P .. 'parks', lane)
local told = false
if before then
  local old_scope, old_code, old_reason = string.match(before, '^([^\n]*)\n([^\n]*)\n([^\n]*)\n')
  if old_scope == scope and old_reason == reason then return { 'ok' } end
  told = old_scope == scope and old_code == code
  unpark_lane(lane, before)
end
redis.call('HSET', P .. 'parks', lane, scope .. '\n' .. code .. '\n' .. reason .. '\n' .. parked_at)
redis.call('ZADD', P .. 'parked', 0, in_order(lane))
if scope ~= '' then redis.call('ZADD', P .. 'parked:' .. scope, 0, in_order(lane)) end
while at < #ARGV and not told do append(take(), take(), take(), take(), take()) end
return { 'ok' }
