-- Holds an open job against other limits from now on; what it used so far stays where it was counted.
-- ARGV: now, how long ended jobs are kept (ms), job, limits (JSON). Answers ok with the job, or nf.
-- Bound: one job.
local keep, was, limits = take(), load_job(take()), take()
if not was then return { 'nf' } end
local j = copy(was)
if is_open(j) then
  j.limits0 = limits
  put_job(j, was, keep)
end
return { 'ok', flat(j) }
