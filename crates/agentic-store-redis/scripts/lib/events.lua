-- The event log: a stream whose ids are numbers given in commit order.

-- Appends an event; `payload` is JSON or ''.
local function append(kind, task, agent, when, payload)
  local id = n(redis.call('INCR', P .. 'event:last'))
  redis.call('XADD', P .. 'events', id .. '-0',
    'type', kind, 'task', task, 'agent', agent, 'at', when, 'payload', payload)
  if task ~= '' then redis.call('ZADD', P .. 'history:' .. task, id, id) end
end

-- Appends an event of this step.
local function emit(kind, task, agent, payload)
  append(kind, task or '', agent or '', n(now), payload or '')
end
