-- Reads the events after a cursor.
-- ARGV: now, cursor, limit. Answers ok with entries of the log, or trimmed with the last number that was.
-- Bound: as many events as it is asked for.
local cursor, limit = take(), take()
local trimmed = redis.call('GET', P .. 'event:trimmed') or '0'
if tonumber(cursor) < tonumber(trimmed) then return { 'trimmed', trimmed } end
if limit == '0' then return { 'ok', {} } end
return { 'ok', redis.call('XRANGE', P .. 'events', '(' .. cursor .. '-0', '+', 'COUNT', limit) }
