-- Finds room under every limit and takes the job's place.
-- ARGV: now, the admission. Answers ok with the job; full with the limit that has no
-- room and its figures; no with the job that stands; or again.
-- Bound: the limits of one job, each of 61 buckets at most, and a sweep.
local a = take_admission()
local wait = sweep()
if wait then return wait end
local j, was, again = prepare_admission(a, false)
if not j then return was end
if not again then put_job(j, was) end
return { 'ok', flat(j) }
