-- Creates or replaces an agent under its next incarnation.
-- ARGV: now, id, now as text, time to live of its sign of life (ms), the rest of its record.
-- Answers ok with the record.
-- Bound: one agent.
local id, stamp, ttl, rest = take(), take(), take(), take()
local before = load_agent(id)
local a = {
  incarnation = n((before and tonumber(before.incarnation) or 0) + 1), status = 'available', draining = false,
  deregistered = false, last_heartbeat = stamp, heard = NOW,
  registered_at = before and before.registered_at or stamp, rest = rest
}
local json = put_agent(id, a)
redis.call('ZADD', P .. 'agents', 0, id)
redis.call('SET', P .. 'alive:' .. id, a.incarnation, 'PX', ttl)
emit('agent_registered', nil, id, '{"incarnation":' .. a.incarnation .. '}')
return { 'ok', json }
