-- Sets a budget, if it is still the one that the caller has seen.
-- ARGV: now, the scope, the version seen ('' = whatever stands there, 0 = none), its JSON, the event's payload.
-- Answers ok with the new version, '' where another one stands there.
-- Bound: one budget.
local scope, seen, json, payload = take(), maybe(), take(), take()
local was = redis.call('HGET', P .. 'budgets', scope)
if seen and seen ~= (was and string.match(was, '^%d+') or '0') then return { 'ok', '' } end
local version = redis.call('INCR', P .. 'limits:revision')
redis.call('HSET', P .. 'budgets', scope, n(version) .. ' ' .. json)
emit('limits_changed', nil, nil, payload)
return { 'ok', n(version) }
