-- Ends a job, once.
-- ARGV: now, job, outcome. Answers ok with the job, or nf.
-- Bound: the lines of one job and their limits.
local was, outcome = load_job(take()), take()
if not was then return { 'nf' } end
local j = copy(was)
if is_open(j) then
  close(j, outcome)
  put_job(j, was)
end
return { 'ok', flat(j) }
