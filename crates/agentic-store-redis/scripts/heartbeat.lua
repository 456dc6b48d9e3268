-- Notes that an agent lives.
-- ARGV: now, id, incarnation, now as text, time to live of its sign of life (ms). Answers ok with the record; nf; or no.
-- Bound: one agent.
local id, incarnation, stamp, ttl = take(), maybe(), take(), take()
local a = registered(id)
if not a then return { 'nf' } end
if incarnation and incarnation ~= a.incarnation then return no(nil, nil, nil, a.json) end
local was_offline = a.status == 'offline'
a.status = 'available'
if now > tonumber(a.heard) then
  a.heard = NOW
  a.last_heartbeat = stamp
end
local json = put_agent(id, a)
redis.call('SET', P .. 'alive:' .. id, a.incarnation, 'PX', ttl)
if was_offline then emit('agent_online', nil, id) end
return { 'ok', json }
