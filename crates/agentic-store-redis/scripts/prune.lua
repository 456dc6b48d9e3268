-- Deletes tasks that ended before an instant and that no open task depends on, with their attempts and their
-- jobs, and their history.
-- ARGV: now, before, limit, how many to look at, created_at and id of the last one seen. Answers ok with how many were
-- deleted, and created_at and id of the last one looked at ('' when the list is at its end).
-- Bound: as many tasks as it is told to look at; it stops behind the one with which it has met 1,000 dependents and
-- attempts, of which a task has at most as many each. Of one that has more attempts, so many are deleted, and the rest
-- with it by later calls.
local before, limit, look = tonumber(take()), tonumber(take()), tonumber(take())
local created_at, last = maybe(), maybe()
local found, next_at, next_id = page_of(P .. 'over', created_at, last, look)
local WORK = 1000
local deleted, work = 0, 0

local function is_needed(id)
  local key, from = P .. 'dependents:' .. id, 0
  repeat
    -- Most often the first of them is open.
    local some = redis.call('ZRANGE', key, from, from + 49)
    for _, dependent in ipairs(some) do
      work = work + 1
      local status = redis.call('HGET', P .. 'task:' .. dependent, 'status')
      if status and not is_over(status) then return true end
    end
    from = from + 50
  until #some < 50
  return false
end

local function delete(t)
  local key = P .. 'task:' .. t.id
  local cells = redis.call('HMGET', key, 'idempotency_key', 'attempts_gone')
  local gone, attempts = tonumber(cells[2]) or 0, tonumber(t.attempt)
  local till = math.min(attempts, gone + WORK)
  local jobs = {}
  for attempt = gone + 1, till do
    local id = job_id(t.id, n(attempt))
    redis.call('DEL', P .. 'attempt:' .. id)
    -- One that is open yet ends by itself.
    if redis.call('HEXISTS', P .. 'job:' .. id, 'ended_at') == 1 then
      redis.call('UNLINK', P .. 'job:' .. id)
      jobs[#jobs + 1] = id
    end
  end
  chunked('ZREM', P .. 'ended', jobs)
  work = work + till - gone
  if till < attempts then
    redis.call('HSET', key, 'attempts_gone', n(till))
    return
  end
  index(nil, t)
  redis.call('ZREM', P .. 'tasks', t.id)
  for dependency in string.gmatch(t.dependencies or '', '[^,]+') do
    redis.call('ZREM', P .. 'dependents:' .. dependency, t.id)
  end
  if cells[1] then redis.call('HDEL', P .. 'keys', cells[1]) end
  redis.call('UNLINK', key, P .. 'dependents:' .. t.id, P .. 'history:' .. t.id)
  deleted = deleted + 1
end

for i = 1, #found, 2 do
  -- None ends before it is created.
  if tonumber(found[i + 1]) >= before then
    next_at, next_id = '', ''
    break
  end
  local t = load_hot(found[i])
  if tonumber(t.updated_at) < before and not is_needed(t.id) then delete(t) end
  if deleted == limit or work >= WORK then
    next_at, next_id = found[i + 1], found[i]
    break
  end
end
return { 'ok', n(deleted), next_at, next_id }
