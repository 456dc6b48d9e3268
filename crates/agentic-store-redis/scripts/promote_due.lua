-- Moves pending tasks whose time has come into their lanes, and releases dependents that an earlier step left.
-- ARGV: now, limit. Answers ok with how many were moved, and how many dependents are left.
-- Bound: as many tasks as it is told, and 40 dependents.
local limit = take()
local later = drain()
local due = redis.call('ZRANGEBYSCORE', P .. 'due', '-inf', NOW, 'LIMIT', 0, limit)
for _, id in ipairs(due) do
  local was = load_hot(id)
  local t = copy(was)
  t.ready = '1'
  put(t, was)
end
return { 'ok', n(#due), later }
