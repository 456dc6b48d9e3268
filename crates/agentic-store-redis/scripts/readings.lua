-- Reads meters and what is held under their scopes.
-- ARGV: now, the limits as JSON. Answers ok with, for each, active, unstarted, tokens and the filled buckets; or again.
-- Bound: the meters that it is given, which with their buckets are some 1,300, and a sweep.
local wait = sweep()
if wait then return wait end
local limits, names, readings = cjson.decode(take()), {}, {}
for i, limit in ipairs(limits) do names[i] = limit[1] end
learn_held(names)
for i, limit in ipairs(limits) do
  local sums = held(limit[1])
  readings[i] = { n(sums.active), n(sums.unstarted), n(sums.tokens), buckets_of(limit) }
end
return { 'ok', readings }
