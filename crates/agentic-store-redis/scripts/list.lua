-- Reads a part of the list of tasks, ascending by creation and id, and of these what matches.
-- ARGV: now, status, rank, project, holder, created_at and id of the last one seen, how many to look at, how many to
-- answer, then the labels wanted. Answers ok with created_at and id of the last one looked at ('' when the list is at
-- its end), and the views.
local status, rank, project, holder = maybe(), maybe(), maybe(), maybe()
local created_at, last, look, limit = maybe(), maybe(), tonumber(take()), tonumber(take())
local labels = {}
for i = at + 1, #ARGV do labels[#labels + 1] = ',' .. ARGV[i] .. ',' end
local key = P .. (status and 'status:' .. status or 'tasks')
local from = page_start(key, created_at, last)
local ids = redis.call('ZRANGE', key, from, from + look - 1)
local views = {}
local next_at, next_id = '', ''

local function matches(id)
  local values = redis.call('HMGET', P .. 'task:' .. id, 'rank', 'project', 'claimed_by', 'lane')
  if rank and values[1] ~= rank or project and values[2] ~= project or holder and values[3] ~= holder then return false end
  local has = ',' .. string.match(values[4], '^[^|]*') .. ','
  for _, label in ipairs(labels) do
    if not string.find(has, label, 1, true) then return false end
  end
  return true
end

for i, id in ipairs(ids) do
  if matches(id) then views[#views + 1] = view(load(id)) end
  if #views == limit or (i == #ids and #ids == look) then
    next_id = id
    next_at = redis.call('ZSCORE', key, id)
    break
  end
end
return { 'ok', next_at, next_id, views }
