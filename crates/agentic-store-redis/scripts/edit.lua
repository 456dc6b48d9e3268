-- Edits a task that waits, and wakes its lane.
-- ARGV: now, task, rank, labels ('=' in front), model, not_before, description ('=' in front), the edit as JSON.
-- Answers ok with the task; nf; or no.
-- Bound: one task, and its lane.
local id, rank, labels, model, not_before, description, json = take(), maybe(), text(), maybe(), maybe(), text(), take()
local was = load(id)
if not was then return { 'nf' } end
if was.status ~= 'pending' and was.status ~= 'blocked' then return no(was) end
local t = copy(was)
t.rank = rank or was.rank
local old_labels, old_model, project = string.match(was.lane, '^([^|]*)|([^|]*)|(.*)$')
t.lane = (labels or old_labels) .. '|' .. (model or old_model) .. '|' .. project
t.not_before = not_before or was.not_before
t.description = description or was.description
local changed = t.rank ~= was.rank or t.lane ~= was.lane or t.not_before ~= was.not_before
  or t.description ~= was.description
enqueue(t)
if changed then say('task_updated', nil, '{"edit":' .. json .. '}') end
settle(t)
put(t, was)
tell(id)
wake('lane', t.lane, 1)
return { 'ok', flat(t) }
