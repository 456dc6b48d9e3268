-- Deletes jobs that ended before an instant and have no task here; one that has a task goes with that, and is not looked at
-- again.
-- ARGV: now, before, how many. Answers ok with how many it looked at.
-- Bound: as many jobs as it is told.
local before, limit = take(), take()
local ids = redis.call('ZRANGEBYSCORE', P .. 'ended', '-inf', '(' .. before, 'LIMIT', 0, limit)
for _, id in ipairs(ids) do
  local task, number = string.match(id, '^(.*)#(%d+)$')
  local latest = tonumber(redis.call('HGET', P .. 'task:' .. task, 'attempt')) or 0
  number = tonumber(number)
  if number < 1 or number > latest then redis.call('UNLINK', P .. 'job:' .. id) end
end
chunked('ZREM', P .. 'ended', ids)
return { 'ok', n(#ids) }
