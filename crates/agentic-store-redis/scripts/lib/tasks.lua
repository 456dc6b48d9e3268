-- Tasks, their attempts and the indexes that follow from them.
local MIN = -62135596800000
local RANK = 1125899906842624

-- The fields that most decisions need: all but the texts.
local HOT = {
  'id', 'status', 'open', 'blocked_by', 'not_before', 'retry_at', 'ready', 'lapsed', 'deferred', 'lane', 'rank',
  'created_at', 'updated_at', 'claimed_by', 'claimed_at', 'lease_expires_at', 'attempt', 'retry_count', 'max_retries',
  'dependencies', 'digest'
}

local function load(id)
  return read(P .. 'task:' .. id)
end

-- Reads a task without its texts.
local function load_hot(id)
  local values = redis.call('HMGET', P .. 'task:' .. id, unpack(HOT))
  if not values[1] then return nil end
  local t = {}
  for i, k in ipairs(HOT) do t[k] = values[i] or nil end
  return t
end

local function ready_at(t)
  return math.max(tonumber(t.not_before) or MIN, tonumber(t.retry_at) or MIN)
end

-- Where a pending task stands: the set, and its place there.
local function place(t)
  if not t or t.status ~= 'pending' then return nil end
  if t.ready then return 'lane:' .. t.lane, tonumber(t.rank) * RANK + tonumber(t.created_at) end
  return 'due', ready_at(t)
end

-- The lanes whose heads this step may have changed.
local touched = {}

-- Keeps the set of lanes in the order of their heads.
local function reorder()
  for lane in pairs(touched) do
    local head = redis.call('ZRANGE', P .. 'lane:' .. lane, 0, 0, 'WITHSCORES')
    if head[1] then
      redis.call('ZADD', P .. 'lanes', head[2], lane)
    else
      redis.call('ZREM', P .. 'lanes', lane)
    end
  end
end

local function touch(place_of_a_task)
  local lane = string.match(place_of_a_task, '^lane:(.*)$')
  if lane then
    touched[lane] = true
    later(reorder)
  end
end

local function is_over(status)
  return status == 'completed' or status == 'failed' or status == 'cancelled'
end

-- What of a set ran out by now, longest ago first: so many from a score on; and how many these are, the last score, and
-- how many have that one. Who goes on from there is given these again: others may leave the set meanwhile.
local function run_out(key, from, count)
  local found = redis.call('ZRANGEBYSCORE', P .. key, from, NOW, 'WITHSCORES', 'LIMIT', 0, count)
  local ids, last, same = {}, found[#found], 0
  for i = 1, #found, 2 do
    ids[#ids + 1] = found[i]
    if found[i + 1] == last then same = same + 1 end
  end
  return ids, { n(#ids), last or from, n(same) }
end

-- Moves a task in the indexes from where `was` stands to where `t` does; either may be nil.
local function index(t, was)
  local id = (t or was).id
  local old, new = was and was.status, t and t.status
  if old ~= new then
    if old then redis.call('ZREM', P .. 'status:' .. old, id) end
    if new then redis.call('ZADD', P .. 'status:' .. new, t.created_at, id) end
    local was_over, over = old and is_over(old), new and is_over(new)
    if was_over and not over then redis.call('ZREM', P .. 'over', id) end
    if over and not was_over then redis.call('ZADD', P .. 'over', t.created_at, id) end
  end
  local from, old_score = place(was)
  local to, score = place(t)
  if from ~= to or old_score ~= score then
    if from and from ~= to then redis.call('ZREM', P .. from, id) end
    if to then redis.call('ZADD', P .. to, score, id) end
    if from then touch(from) end
    if to then touch(to) end
  end
  local deferred, old_deferred = t and t.deferred, was and was.deferred
  if not deferred ~= not old_deferred then
    if deferred then redis.call('ZADD', P .. 'deferred', 0, id) else redis.call('ZREM', P .. 'deferred', id) end
  end
  local lease, old_lease = t and t.lease_expires_at, was and was.lease_expires_at
  if lease ~= old_lease then
    if lease then
      redis.call('ZADD', P .. 'leases', lease, id)
    else
      redis.call('ZREM', P .. 'leases', id)
    end
  end
  local holder = lease and t.claimed_by
  local old_holder = old_lease and was.claimed_by
  if holder ~= old_holder then
    if old_holder then redis.call('ZREM', P .. 'running:' .. old_holder, id) end
    if holder then redis.call('ZADD', P .. 'running:' .. holder, t.claimed_at, id) end
  end
end

-- Writes a task that was read as `was`.
local function put(t, was)
  index(t, was)
  write(P .. 'task:' .. t.id, t, was)
end

local function job_id(task, attempt)
  return task .. '#' .. attempt
end

local function load_attempt(id)
  return read(P .. 'attempt:' .. id)
end

local function put_attempt(id, attempt, was)
  write(P .. 'attempt:' .. id, attempt, was)
end

-- The names of the tasks that wait for one, ascending.
local function dependents(id)
  return redis.call('ZRANGE', P .. 'dependents:' .. id, 0, -1)
end

-- A task as it is read: itself, what waits for it, the dependencies that it waits for, and why its lane is parked.
local function view(t)
  local open, park = {}, ''
  if t.status == 'blocked' and t.dependencies then
    for id in string.gmatch(t.dependencies, '[^,]+') do
      local status = redis.call('HGET', P .. 'task:' .. id, 'status')
      if status and status ~= 'completed' then
        open[#open + 1] = id
        open[#open + 1] = status
      end
    end
  elseif t.status == 'pending' then
    park = redis.call('HGET', P .. 'parks', t.lane) or ''
  end
  return { flat(t), dependents(t.id), open, park }
end

-- The place in the list of all tasks, by creation and id, after which a page begins: the first index.
local function page_start(key, created_at, id)
  if not created_at then return 0 end
  -- A task that is gone stands there for a moment, so that the place is found in logarithmic time.
  local added = redis.call('ZADD', key, 'NX', created_at, id)
  local moved = added == 0 and redis.call('ZSCORE', key, id)
  if moved and tonumber(moved) ~= tonumber(created_at) then
    -- The name was given to another task since; its own place is put back.
    redis.call('ZADD', key, created_at, id)
    local rank = redis.call('ZRANK', key, id)
    redis.call('ZADD', key, moved, id)
    if tonumber(moved) < tonumber(created_at) then return rank + 1 end
    return rank
  end
  local rank = redis.call('ZRANK', key, id)
  if added == 1 then
    redis.call('ZREM', key, id)
    return rank
  end
  return rank + 1
end
