-- Appends events that belong to no other transition, if the setting that is moved with them stands as believed.
-- ARGV: now, key of the setting (or '', and then no check), what it must be ('=' in front; '' = not set), what it
-- becomes ('=' in front), then for each event type, task, agent, at, payload.
-- Answers ok, or moved with the setting as it stands ('=' in front; '' = not set).
-- Bound: the events that it is given.
local key, from, to = maybe(), text(), text()
if key then
  local stands = redis.call('HGET', P .. 'settings', key)
  if (stands or nil) ~= from then return { 'moved', stands and '=' .. stands or '' } end
  redis.call('HSET', P .. 'settings', key, to)
end
for _ = 1, (#ARGV - 4) / 5 do append(take(), take(), take(), take(), take()) end
return { 'ok' }
