-- Takes an admission back that did not start.
-- ARGV: now, how long ended jobs are kept (ms), job, admission. Answers ok.
-- Bound: one job.
local keep, was, admission = take(), load_job(take()), take()
if was and was.admission == admission and was.state == 'reserved' then
  local j = copy(was)
  j.state = 'void'
  put_job(j, was, keep)
end
return { 'ok' }
