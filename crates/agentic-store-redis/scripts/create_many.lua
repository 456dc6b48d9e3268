-- Creates a batch of tasks, all or none.
-- ARGV: now, what to do ('create'; 'probe': only look for what was created before; 'rehearse': write nothing, and answer
-- no in any case), count; then a task: id, key, digest, count of dependencies and their ids, count of its other cells and
-- they, as a hash takes them.
-- Answers ok with, for each, '1' for a replay and the task; or no with the rows that the refusal was decided on: the
-- tasks by id, ids by key, and how many wait for each dependency.
-- Bound: the batch: 1,000 tasks with 100 dependencies each at most.
local todo = take()
local batch, fresh, rows, keys, waiting = {}, {}, {}, {}, {}
for i = 1, tonumber(take()) do
  local task = { id = take(), key = maybe(), digest = take(), deps = {} }
  for d = 1, tonumber(take()) do task.deps[d] = take() end
  task.cells = tonumber(take())
  task.from = at + 1
  at = at + task.cells
  batch[i] = task
end

local function refuse()
  local tasks, names, counts = {}, {}, {}
  for _, row in pairs(rows) do tasks[#tasks + 1] = flat(row) end
  for key, id in pairs(keys) do
    names[#names + 1] = key
    names[#names + 1] = id
  end
  for id, count in pairs(waiting) do
    counts[#counts + 1] = id
    counts[#counts + 1] = n(count)
  end
  return { 'no', tasks, names, counts }
end

local function look(id)
  if rows[id] == nil then rows[id] = load_hot(id) end
  return rows[id]
end

local refused = false
for _, task in ipairs(batch) do
  local id = task.key and redis.call('HGET', P .. 'keys', task.key)
  if id then
    keys[task.key] = id
    task.replay = id
    local row = look(id)
    refused = refused or not row or row.digest ~= task.digest
  else
    fresh[task.id] = task
    refused = refused or look(task.id) ~= nil
  end
  if refused then return refuse() end
end
if todo == 'probe' then return { 'ok' } end

-- No circle: what nothing of the batch holds up is taken away until nothing is left.
local by_id, followers, free, left = {}, {}, {}, 0
for _, task in ipairs(batch) do by_id[task.id] = task end
for id, task in pairs(fresh) do
  left = left + 1
  task.inside = 0
  for _, dep in ipairs(task.deps) do
    if fresh[dep] then
      task.inside = task.inside + 1
      followers[dep] = followers[dep] or {}
      table.insert(followers[dep], task)
    end
  end
  if task.inside == 0 then free[#free + 1] = id end
end
while #free > 0 do
  local id = table.remove(free)
  left = left - 1
  for _, follower in ipairs(followers[id] or {}) do
    follower.inside = follower.inside - 1
    if follower.inside == 0 then free[#free + 1] = follower.id end
  end
end
refused = left > 0

-- What each waits for.
local counted = {}
for _, task in ipairs(batch) do
  if fresh[task.id] then
    task.open = 0
    for d, dep in ipairs(task.deps) do
      if by_id[dep] and by_id[dep].replay then
        dep = by_id[dep].replay
        task.deps[d] = dep
      end
      local status = 'pending'
      if not fresh[dep] then
        local row = look(dep)
        refused = refused or not row
        status = row and row.status
      end
      if not counted[dep] then
        waiting[dep] = redis.call('ZCARD', P .. 'dependents:' .. dep)
        counted[dep] = waiting[dep]
      end
      counted[dep] = counted[dep] + 1
      refused = refused or counted[dep] > 1000
      if status ~= 'completed' then task.open = task.open + 1 end
    end
  end
end
if refused or todo == 'rehearse' then return refuse() end

local answer = { 'ok' }
for _, task in ipairs(batch) do
  if fresh[task.id] then
    local t = {}
    for i = task.from, task.from + task.cells - 1, 2 do t[ARGV[i]] = ARGV[i + 1] end
    t.id, t.digest, t.idempotency_key = task.id, task.digest, task.key
    t.open = n(task.open)
    if #task.deps > 0 then t.dependencies = table.concat(task.deps, ',') end
    if task.open > 0 then set_cause(t, 'dependency', true) end
    enqueue(t)
    put(t)
    redis.call('ZADD', P .. 'tasks', t.created_at, t.id)
    if t.idempotency_key then redis.call('HSET', P .. 'keys', t.idempotency_key, t.id) end
    for _, dep in ipairs(task.deps) do redis.call('ZADD', P .. 'dependents:' .. dep, 0, t.id) end
    emit('task_created', t.id, nil, '{"title":' .. q(t.title) .. ',"status":"' .. t.status .. '"}')
    task.t = t
  end
end
for _, task in ipairs(batch) do
  answer[#answer + 1] = { task.replay and '1' or '0', flat(task.t or load(task.replay)) }
end
return answer
