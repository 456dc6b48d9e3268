-- Reads a part of the registered agents, ascending by id.
-- ARGV: now, the last id seen ('' = from the start), how many. Answers ok with the records.
-- Bound: as many agents as it is asked for.
local after, count = maybe(), take()
local from = after and '(' .. after or '-'
local records = {}
for i, id in ipairs(redis.call('ZRANGEBYLEX', P .. 'agents', from, '+', 'LIMIT', 0, count)) do
  records[i] = redis.call('GET', P .. 'agent:' .. id)
end
return { 'ok', records }
