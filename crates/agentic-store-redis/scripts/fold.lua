-- Folds the oldest entries of the ledger from before an instant into the opening balance. What stands in buckets that
-- stopped counting before it is taken out of the meters instead: nobody reads it any more; so is what was folded while
-- its bucket still counted.
-- ARGV: now, before, how many entries, how many buckets that were folded before. Answers ok with how many of either.
-- Bound: as many as it is told, each entry of what the limits of one job move.
local before, limit, due = tonumber(take()), take(), take()
local folded, gone, agents = {}, {}, {}

-- Takes what a bucket that is over holds of the meters out of them.
local function take_out(field, delta)
  local name, bucket = string.match(field, '^(.*) (%-?%d+)$')
  local scope, meter, window = string.match(name, '^(.*) (%S+) (%S+)$')
  local back = string.sub(delta, 1, 1) == '-' and string.sub(delta, 2) or '-' .. delta
  -- The distances are not known here, and only say whether a sum is kept: one may be.
  gone[field] = move({ scope, meter, window, 0, 0, 1 }, tonumber(bucket), back) == 0 or nil
end

local oldest = limit ~= '0' and redis.call('XRANGE', P .. 'entries', '-', '+', 'COUNT', limit) or {}
local changes = {}
for _, entry in ipairs(oldest) do
  local cells = entry[2]
  if tonumber(cells[4]) >= before then break end
  changes[#changes + 1] = cjson.decode(cells[12])
  folded[#folded + 1] = entry[1]
  agents[cells[8]] = true
end
-- First what takes no memory: Redis lets a script that has written go on when memory is short.
chunked('XDEL', P .. 'entries', folded)
for _, items in ipairs(changes) do
  for _, item in ipairs(items) do
    local field, delta, frees_at = item[1], n(item[2]), item[3]
    if frees_at ~= 0 and frees_at <= before then
      take_out(field, delta)
    else
      redis.call('HINCRBY', P .. 'opening', field, delta)
      if frees_at ~= 0 then redis.call('ZADD', P .. 'opening:due', n(frees_at), field) end
    end
  end
end
if #folded > 0 then
  local ms, seq = string.match(folded[#folded], '^(%d+)-(%d+)$')
  for agent in pairs(agents) do
    local key = P .. 'entries:' .. agent
    redis.call('XTRIM', key, 'MINID', ms .. '-' .. n(tonumber(seq) + 1))
    if redis.call('XLEN', key) == 0 then redis.call('DEL', key) end
  end
end
local over = redis.call('ZRANGEBYSCORE', P .. 'opening:due', '-inf', n(before), 'LIMIT', 0, due)
for _, field in ipairs(over) do
  take_out(field, redis.call('HGET', P .. 'opening', field))
end
chunked('HDEL', P .. 'opening', over)
chunked('ZREM', P .. 'opening:due', over)
local fields = {}
for field in pairs(gone) do
  fields[#fields + 1] = field
  moved[field] = nil
end
chunked('HDEL', P .. 'meters', fields)
if #folded + #over > 0 then redis.call('INCR', P .. 'folds') end
return { 'ok', n(#folded), n(#over) }
