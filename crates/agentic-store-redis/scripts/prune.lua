-- Deletes tasks that ended before an instant and that no open task depends on, with their attempts and history.
-- ARGV: now, before, limit, how many to look at, created_at and id of the last one seen. Answers ok with how many were
-- deleted, and created_at and id of the last one looked at ('' when the list is at its end).
local before, limit, look = tonumber(take()), tonumber(take()), tonumber(take())
local created_at, last = maybe(), maybe()
local key = P .. 'over'
local from = page_start(key, created_at, last)
local ids = redis.call('ZRANGE', key, from, from + look - 1, 'WITHSCORES')
local deleted = 0
local next_at, next_id = '', ''

local function is_needed(id)
  for _, dependent in ipairs(dependents(id)) do
    local status = redis.call('HGET', P .. 'task:' .. dependent, 'status')
    if status and not is_over(status) then return true end
  end
  return false
end

local function delete(t)
  index(nil, t)
  redis.call('ZREM', P .. 'tasks', t.id)
  for dependency in string.gmatch(t.dependencies or '', '[^,]+') do
    redis.call('ZREM', P .. 'dependents:' .. dependency, t.id)
  end
  local idempotency_key = redis.call('HGET', P .. 'task:' .. t.id, 'idempotency_key')
  if idempotency_key then redis.call('HDEL', P .. 'keys', idempotency_key) end
  for attempt = 1, tonumber(t.attempt) do redis.call('DEL', P .. 'attempt:' .. job_id(t.id, n(attempt))) end
  redis.call('DEL', P .. 'task:' .. t.id, P .. 'dependents:' .. t.id, P .. 'history:' .. t.id)
end

for i = 1, #ids, 2 do
  -- None ends before it is created.
  if tonumber(ids[i + 1]) >= before then break end
  local t = load_hot(ids[i])
  if tonumber(t.updated_at) < before and not is_needed(t.id) then
    delete(t)
    deleted = deleted + 1
  end
  if deleted == limit or (i + 1 == #ids and #ids == 2 * look) then
    next_id, next_at = ids[i], ids[i + 1]
    break
  end
end
return { 'ok', n(deleted), next_at, next_id }
