-- Reads a part of the list of tasks, ascending by creation and id, and of these what matches.
-- ARGV: now, status, rank, project, holder, created_at and id of the last one seen, how many to look at, how many to
-- answer, then the labels wanted. Answers ok with created_at and id of the last one looked at ('' when the list is at
-- its end), and the views.
-- Bound: as many tasks as it is told to look at; it stops when the tasks it answers have named 2,000 others.
local status, rank, project, holder = maybe(), maybe(), maybe(), maybe()
local created_at, last, look, limit = maybe(), maybe(), tonumber(take()), tonumber(take())
local labels = {}
for i = at + 1, #ARGV do labels[#labels + 1] = ',' .. ARGV[i] .. ',' end
local found, next_at, next_id = page_of(P .. (status and 'status:' .. status or 'tasks'), created_at, last, look)
local views, named = {}, 0

local function matches(id)
  local values = redis.call('HMGET', P .. 'task:' .. id, 'rank', 'project', 'claimed_by', 'lane')
  if rank and values[1] ~= rank or project and values[2] ~= project or holder and values[3] ~= holder then return false end
  local has = ',' .. string.match(values[4], '^[^|]*') .. ','
  for _, label in ipairs(labels) do
    if not string.find(has, label, 1, true) then return false end
  end
  return true
end

for i = 1, #found, 2 do
  if matches(found[i]) then
    local seen = view(load(found[i]))
    views[#views + 1] = seen
    named = named + #seen[2] + #seen[3]
  end
  if #views == limit or named >= 2000 then
    next_at, next_id = found[i + 1], found[i]
    break
  end
end
return { 'ok', next_at, next_id, views }
