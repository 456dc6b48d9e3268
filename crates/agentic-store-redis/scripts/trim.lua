-- Deletes the oldest events from before an instant, and what the histories of tasks know of them.
-- ARGV: now, before, limit. Answers ok with how many.
-- Bound: as many events as it is told.
local before, limit = tonumber(take()), tonumber(take())
local count, last = 0, nil
if limit > 0 then
  for _, entry in ipairs(redis.call('XRANGE', P .. 'events', '-', '+', 'COUNT', limit)) do
    local cells = entry[2]
    if tonumber(cells[8]) >= before then break end
    last = string.match(entry[1], '^%d+')
    count = count + 1
    if cells[4] ~= '' then redis.call('ZREM', P .. 'history:' .. cells[4], last) end
  end
end
if last then
  redis.call('XTRIM', P .. 'events', 'MINID', n(tonumber(last) + 1) .. '-0')
  redis.call('SET', P .. 'event:trimmed', last)
end
return { 'ok', n(count) }
