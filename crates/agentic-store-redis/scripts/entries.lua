-- Reads a page of an agent's entries in the ledger, newest first.
-- ARGV: now, agent, cursor, how many. Answers ok with the oldest entry's id ('' when there is none), and the page.
-- Bound: as many entries as it is asked for.
local agent, cursor, count = take(), maybe(), take()
local page = {}
for i, own in ipairs(redis.call('XREVRANGE', P .. 'entries:' .. agent, cursor and '(' .. cursor or '+', '-', 'COUNT', count)) do
  page[i] = redis.call('XRANGE', P .. 'entries', own[1], own[1])[1]
end
local first = redis.call('XRANGE', P .. 'entries', '-', '+', 'COUNT', 1)[1]
return { 'ok', first and first[1] or '', page }
