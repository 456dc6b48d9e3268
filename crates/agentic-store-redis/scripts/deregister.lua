-- Removes an agent; its record stays, so that its incarnations never repeat.
-- ARGV: now, id. Answers ok, or nf.
-- Bound: one agent.
local id = take()
local a = registered(id)
if not a then return { 'nf' } end
a.deregistered = true
a.status = 'offline'
put_agent(id, a)
redis.call('ZREM', P .. 'agents', id)
redis.call('DEL', P .. 'alive:' .. id)
emit('agent_deregistered', nil, id)
return { 'ok' }
