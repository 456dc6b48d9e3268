-- Starts an assigned attempt and its job.
-- ARGV: now, the start. Answers ok with the task; nf; or no with the rows.
-- Bound: one task, its attempt and the limits of its job.
local s = take_start()
local t = load(s.task)
if not t then return { 'nf' } end
local attempt, seen, only_now = prepare_start(s, t)
if not attempt then return no(t, seen) end
if only_now then
  local was = load_job(s.job)
  if not was then return no(t, attempt) end
  if was.state == 'reserved' and is_live(was) then
    local j = copy(was)
    mark_started(j)
    put_job(j, was)
  elseif was.state ~= 'started' and not (was.state == 'settled' and was.started_at) then
    return no(t, attempt, was)
  end
  redis.call('HSET', P .. 'attempt:' .. s.job, 'started_at', NOW)
end
return { 'ok', flat(t) }
