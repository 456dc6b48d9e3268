-- Lets a reservation hold longer; one that has run out retakes its place.
-- ARGV: now, how long ended jobs are kept (ms), job, expires_at. Answers ok with the job; nf; full; no with the job; or
-- again.
local keep, id, expires_at = take(), take(), take()
if sweep() then return { 'again' } end
local was = load_job(id)
if not was then return { 'nf' } end
local j = copy(was)
local longer, full = hold_longer(j, expires_at)
if not longer then return full or no(nil, nil, was) end
put_job(j, was, keep)
return { 'ok', flat(j) }
