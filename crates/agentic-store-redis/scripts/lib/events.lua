-- The event log: a stream whose ids are numbers given in commit order.

-- What this step tells, in order: type, task, agent, time and payload.
local log = {}

local function write_log()
  local before = redis.call('INCRBY', P .. 'event:last', #log) - #log
  local histories = {}
  for i, event in ipairs(log) do
    local id, task = n(before + i), event[2]
    redis.call('XADD', P .. 'events', id .. '-0',
      'type', event[1], 'task', task, 'agent', event[3], 'at', event[4], 'payload', event[5])
    if task ~= '' then
      local history = histories[task] or {}
      histories[task] = history
      history[#history + 1] = id
      history[#history + 1] = id
    end
  end
  for task, history in pairs(histories) do chunked('ZADD', P .. 'history:' .. task, history) end
end

-- Appends an event; `payload` is JSON or ''.
local function append(kind, task, agent, when, payload)
  log[#log + 1] = { kind, task, agent, when, payload }
  later(write_log)
end

-- Appends an event of this step.
local function emit(kind, task, agent, payload)
  append(kind, task or '', agent or '', NOW, payload or '')
end
