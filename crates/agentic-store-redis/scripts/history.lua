-- Reads the events of one task.
-- ARGV: now, task, after, limit. Answers ok with the entries of the log, or nf.
-- Bound: as many events as it is asked for.
local id, after, limit = take(), tonumber(take()), take()
if redis.call('EXISTS', P .. 'task:' .. id) == 0 then return { 'nf' } end
local events = {}
after = math.max(after, tonumber(redis.call('GET', P .. 'event:trimmed') or '0'))
for _, event in ipairs(redis.call('ZRANGEBYSCORE', P .. 'history:' .. id, '(' .. n(after), '+inf', 'LIMIT', 0, limit)) do
  local found = redis.call('XRANGE', P .. 'events', event .. '-0', event .. '-0')
  if found[1] then events[#events + 1] = found[1] end
end
return { 'ok', events }
