-- Blocks or unblocks a waiting task by hand.
-- ARGV: now, task, the reason ('=' in front; '' unblocks). Answers ok with the task; nf; or no.
-- Bound: one task.
local id, reason = take(), text()
local was = load(id)
if not was then return { 'nf' } end
local t = copy(was)
if reason then
  if was.status ~= 'pending' and was.status ~= 'blocked' then return no(was) end
  if is_blocked_by(was, 'manual') then return { 'ok', flat(was) } end
  set_cause(t, 'manual', true)
  t.status = 'blocked'
  say('task_blocked', nil, '{"reason":' .. q(reason) .. '}')
else
  if not is_blocked_by(was, 'manual') then return no(was) end
  set_cause(t, 'manual', false)
  settle_block(t)
end
settle(t)
put(t, was)
tell(id)
return { 'ok', flat(t) }
