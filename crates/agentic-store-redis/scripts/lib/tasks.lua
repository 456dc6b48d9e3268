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

-- Whether a name stands before another in a sorted set: by its bytes. What Lua itself goes by is the locale.
local function stands_before(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return x < y end
  end
  return #a < #b
end

-- Where the page of a sorted set begins that follows a score and a name, whether or not these still stand there: an index,
-- found in logarithmic time, by halves among the names of one score.
local function page_start(key, score, name)
  if not score then return 0 end
  local low, high = redis.call('ZCOUNT', key, '-inf', '(' .. score), redis.call('ZCOUNT', key, '-inf', score)
  while low < high do
    local middle = math.floor((low + high) / 2)
    if stands_before(name, redis.call('ZRANGE', key, middle, middle)[1]) then high = middle else low = middle + 1 end
  end
  return low
end

-- A page of a sorted set: names and scores in turn, and the score and the name that the next one follows ('' after the last).
local function page_of(key, score, name, count)
  local from = page_start(key, score, name)
  local found = redis.call('ZRANGE', key, from, from + count - 1, 'WITHSCORES')
  if #found < 2 * count then return found, '', '' end
  return found, found[#found], found[#found - 1]
end

-- A page of what ran out by now, longest ago first: the names, and the score and the name that the next one follows.
local function run_out(key, score, name, count)
  local found, next_score, next_name = page_of(P .. key, score, name, count)
  local ids = {}
  for i = 1, #found, 2 do
    if tonumber(found[i + 1]) > now then return ids, '', '' end
    ids[#ids + 1] = found[i]
  end
  return ids, next_score, next_name
end
