-- Notes that an agent lives.
-- ARGV: now, id, incarnation, now as text, time to live of its sign of life (ms). Answers ok with the record and the load;
-- nf; no; or again.
-- Bound: one agent, and a sweep.
local id, incarnation, stamp, ttl = take(), maybe(), take(), take()
local wait = sweep()
if wait then return wait end
local json, refusal = hear(id, incarnation, stamp, ttl)
return refusal or { 'ok', json, n(held('agent:' .. id).active) }
