-- Turns the place of a job into one used job and one used request.
-- ARGV: now, job. Answers ok with the job; nf; or no with it.
-- Bound: the limits of one job.
local was = load_job(take())
if not was then return { 'nf' } end
if was.state == 'started' or (was.state == 'settled' and was.started_at) then return { 'ok', flat(was) } end
if not (was.state == 'reserved' and is_live(was)) then return no(nil, nil, was) end
local j = copy(was)
mark_started(j)
put_job(j, was)
return { 'ok', flat(j) }
