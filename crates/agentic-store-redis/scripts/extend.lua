-- Lets a reservation hold longer; one that has run out retakes its place.
-- ARGV: now, job, expires_at. Answers ok with the job; nf; full; no with the job; or
-- again.
-- Bound: the limits of one job, each of 61 buckets at most, and a sweep.
local id, expires_at = take(), take()
local wait = sweep()
if wait then return wait end
local was = load_job(id)
if not was then return { 'nf' } end
local j = copy(was)
local longer, full = hold_longer(j, expires_at)
if not longer then return full or no(nil, nil, was) end
put_job(j, was)
return { 'ok', flat(j) }
