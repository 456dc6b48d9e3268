-- Notes that agents live.
-- ARGV: now, time to live of a sign of life (ms), then for each agent id, incarnation, its time and the same as text.
-- Answers ok with one list for each: ok, its record and its load; nf; or no. Or again.
-- Bound: the agents that it is given, and a sweep.
local ttl = take()
local wait = sweep()
if wait then return wait end
local answers, heard, names = {}, {}, {}
while at < #ARGV do
  local id, incarnation, time, stamp = take(), maybe(), take(), take()
  local json, refusal = hear(id, incarnation, time, stamp, ttl)
  answers[#answers + 1] = refusal or { 'ok', json }
  if json then
    heard[#heard + 1] = answers[#answers]
    names[#names + 1] = 'agent:' .. id
  end
end
learn_held(names)
for i, scope in ipairs(names) do heard[i][3] = n(held(scope).active) end
return { 'ok', answers }
