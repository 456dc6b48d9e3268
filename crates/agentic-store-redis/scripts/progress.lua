-- Notes how far a running attempt is.
-- ARGV: now, task, attempt, agent, progress, notes. Answers ok with the task; nf; or no.
-- Bound: one task.
local id, attempt, agent, progress, notes = take(), maybe(), maybe(), maybe(), text()
local was = load(id)
if not was then return { 'nf' } end
if not holds(was, agent, attempt) then return no(was) end
if (not progress or progress == was.progress) and (not notes or notes == was.notes) then return { 'ok', flat(was) } end
local t = copy(was)
t.progress = progress or was.progress
t.notes = notes or was.notes
settle(t)
put(t, was)
say_held('task_updated', was, '"progress":' .. t.progress .. ',"notes":' .. (notes and q(notes) or 'null'))
tell(id)
return { 'ok', flat(t) }
