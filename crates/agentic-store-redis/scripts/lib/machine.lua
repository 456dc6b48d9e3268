-- A task's life, as `agentic_core::machine` has it. Each function changes `t`, which was read as `was`, and says what
-- happened; or it answers false and nothing may be written.

-- What this step will tell about a task, in order.
local said = {}

local function say(kind, agent, payload)
  said[#said + 1] = { kind, agent or '', payload }
end

-- Tells of the current attempt and whoever holds it; `fields` is the inside of a JSON object.
local function say_held(kind, was, fields)
  local attempt = '"attempt":' .. was.attempt
  local inside = fields and (fields .. ',' .. attempt) or attempt
  say(kind, was.claimed_by, '{' .. inside .. '}')
end

local function tell(id)
  for _, event in ipairs(said) do emit(event[1], id, event[2], event[3]) end
  said = {}
end

local function is_blocked_by(t, cause)
  return t.blocked_by ~= nil and string.find(t.blocked_by, cause, 1, true) ~= nil
end

-- Adds or takes away one of the two causes of a block.
local function set_cause(t, cause, holds)
  local dependency = is_blocked_by(t, 'dependency')
  local manual = is_blocked_by(t, 'manual')
  if cause == 'dependency' then dependency = holds else manual = holds end
  if dependency and manual then
    t.blocked_by = 'dependency,manual'
  else
    t.blocked_by = dependency and 'dependency' or manual and 'manual' or nil
  end
end

-- What every step ends with.
local function settle(t)
  if t.status ~= 'in_progress' then t.lease_expires_at = nil end
  if t.status == 'pending' or t.status == 'blocked' then
    t.claimed_by = nil
    t.claimed_at = nil
  end
  if t.status ~= 'pending' then
    t.ready = nil
    t.lapsed = nil
    t.deferred = nil
  end
  if now > tonumber(t.updated_at) then t.updated_at = NOW end
end

-- Puts a task where it waits.
local function enqueue(t)
  t.status = t.blocked_by and 'blocked' or 'pending'
  t.ready = not t.blocked_by and ready_at(t) <= now and '1' or nil
  t.lapsed = nil
end

local function settle_block(t)
  if not t.blocked_by then
    enqueue(t)
    say('task_unblocked', nil, '{}')
  end
end

-- Whether the caller holds the current attempt; no agent = an operator, no attempt = the current one.
local function holds(t, agent, attempt)
  return (not attempt or attempt == t.attempt) and t.status == 'in_progress' and (not agent or t.claimed_by == agent)
end

-- c: agent, attempt, expires_at, dispatched.
local function step_claim(t, c)
  if t.status ~= 'pending' or ready_at(t) > now or tonumber(t.attempt) + 1 ~= tonumber(c.attempt) then return false end
  t.status = 'in_progress'
  t.attempt = c.attempt
  t.claimed_by = c.agent
  t.claimed_at = NOW
  t.lease_expires_at = c.expires_at
  t.retry_at = nil
  t.progress = '0'
  t.lapsed = nil
  t.deferred = nil
  say('task_claimed', c.agent, '{"attempt":' .. c.attempt .. '}')
  if c.dispatched then say('task_dispatched', c.agent, '{"attempt":' .. c.attempt .. '}') end
  settle(t)
  return true
end

-- Counts a failed attempt: another follows, or none.
local function burn(t, was, e, error)
  local count = tonumber(t.retry_count)
  local left = count < tonumber(t.max_retries)
  if e.next == 'retry' then
    if not left then return false end
    t.retry_count = n(count + 1)
    t.retry_at = e.next_at
    enqueue(t)
    say_held('task_retry_scheduled', was,
      '"error":' .. q(error) .. ',"retry_count":' .. t.retry_count .. ',"retry_at":' .. q(e.next_text))
  else
    if left then return false end
    t.status = 'failed'
    t.retry_at = nil
    t.fail_reason = 'max retries exceeded'
    say_held('task_dead_lettered', was, '"error":' .. q(error) .. ',"reason":' .. q(t.fail_reason))
  end
  return true
end

-- e: kind, proves, said (error, reason or the result as JSON), next, next_at, next_text.
local function step_end(t, was, e)
  local running = t.status == 'in_progress'
  if not running and not (t.lapsed and e.proves) then return false end
  if e.kind == 'expired' and t.lease_expires_at and tonumber(t.lease_expires_at) > now then return false end
  t.last_attempt = NOW
  if e.kind == 'completed' then
    t.status = 'completed'
    t.progress = '100'
    t.result = e.said
    t.retry_at = nil
    say_held('task_completed', was)
  elseif e.kind == 'failed' and not running then
    t.last_error = e.said
    say_held('task_updated', was, '"error":' .. q(e.said))
  elseif e.kind == 'failed' then
    t.last_error = e.said
    if not burn(t, was, e, e.said) then return false end
  elseif e.kind == 'expired' then
    say_held('lease_expired', was)
    if e.next then
      t.last_error = 'the lease ran out'
      if not burn(t, was, e, t.last_error) then return false end
    else
      enqueue(t)
    end
    t.lapsed = t.status == 'pending' and '1' or nil
  elseif e.kind == 'released' then
    enqueue(t)
    say_held('task_released', was, '"reason":' .. q(e.said))
  else
    set_cause(t, 'manual', true)
    t.status = 'blocked'
    say_held('task_released', was, '"reason":' .. q(e.said))
    say('task_blocked', nil, '{"reason":' .. q(e.said) .. '}')
  end
  settle(t)
  return true
end

-- A dependency of the task was completed.
local function release(id)
  local was = load_hot(id)
  if not was then return end
  local t = copy(was)
  t.open = n(math.max(tonumber(t.open) - 1, 0))
  if t.open == '0' then
    set_cause(t, 'dependency', false)
    if t.status == 'blocked' then settle_block(t) end
  end
  settle(t)
  put(t, was)
  tell(id)
end

-- How many dependents one step releases; the rest stand in a list that the next steps drain.
local RELEASES = 40

-- Releases what stands in the list; answers how many are left.
local function drain()
  local key = P .. 'releases'
  local next = redis.call('LRANGE', key, 0, RELEASES - 1)
  if #next == 0 then return 0 end
  -- First what takes no memory: Redis lets a script that has written go on when memory is short.
  redis.call('LTRIM', key, #next, -1)
  for _, id in ipairs(next) do release(id) end
  return redis.call('LLEN', key)
end

-- Releases what waits for a completed task; answers how many are left to later steps.
local function release_dependents(id)
  local waiting = dependents(id)
  local later = {}
  for i, dependent in ipairs(waiting) do
    if i <= RELEASES then release(dependent) else later[#later + 1] = dependent end
  end
  chunked('RPUSH', P .. 'releases', later)
  return #later
end
