-- Holds an open job against other limits from now on; what it used so far stays where it was counted.
-- ARGV: now, job, limits (JSON). Answers ok with the job, or nf.
-- Bound: one job.
local was, limits = load_job(take()), take()
if not was then return { 'nf' } end
local j = copy(was)
if is_open(j) then
  j.limits0 = limits
  put_job(j, was)
end
return { 'ok', flat(j) }
