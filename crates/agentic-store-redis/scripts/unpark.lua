-- Wakes parked lanes, and tasks that are put off for themselves unless one lane is meant; counts as a wake-up.
-- ARGV: now, 'lane', 'scope' or 'all', its name, limit. Answers ok with how many were woken.
-- Bound: as many lanes and tasks as it is told.
local kind, name, limit = take(), take(), tonumber(take())
local woken = wake(kind, name, limit)
local ids = {}
if kind ~= 'lane' and woken < limit then ids = redis.call('ZRANGE', P .. 'deferred', 0, limit - woken - 1) end
for _, id in ipairs(ids) do
  local was = load_hot(id)
  local t = copy(was)
  t.retry_at = nil
  t.deferred = nil
  put(t, was)
end
return { 'ok', n(woken + #ids) }
