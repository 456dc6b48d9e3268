-- Takes an admission back that did not start.
-- ARGV: now, job, admission. Answers ok.
-- Bound: one job.
local was, admission = load_job(take()), take()
if was and was.admission == admission and was.state == 'reserved' then
  local j = copy(was)
  j.state, j.ended_at = 'void', NOW
  put_job(j, was)
end
return { 'ok' }
