-- Sets or removes an allowance or a quota; removes a budget.
-- ARGV: now, 'allowances', 'quotas' or 'budgets', the name, its JSON ('' removes), the agent of the event ('' = none), its
-- payload.
-- Answers ok, or nf.
-- Bound: one limit.
local key, name, json, agent, payload = P .. take(), take(), take(), take(), take()
if json == '' then
  if redis.call('HDEL', key, name) == 0 then return { 'nf' } end
else
  redis.call('HSET', key, name, json)
end
redis.call('INCR', P .. 'limits:revision')
emit('limits_changed', nil, agent, payload)
return { 'ok' }
