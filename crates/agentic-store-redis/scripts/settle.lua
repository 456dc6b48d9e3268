-- Ends a job, once.
-- ARGV: now, how long ended jobs are kept (ms), job, outcome. Answers ok with the job, or nf.
-- Bound: the lines of one job and their limits.
local keep, was, outcome = take(), load_job(take()), take()
if not was then return { 'nf' } end
local j = copy(was)
if is_open(j) then
  close(j, outcome)
  put_job(j, was, keep)
end
return { 'ok', flat(j) }
