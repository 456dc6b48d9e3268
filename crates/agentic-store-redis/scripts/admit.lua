-- Finds room under every limit and takes the job's place.
-- ARGV: now, how long ended jobs are kept (ms), the admission. Answers ok with the job; full with the limit that has no
-- room and its figures; no with the job that stands; or again.
-- Bound: the limits of one job, each of 61 buckets at most, and a sweep.
local keep, a = take(), take_admission()
local wait = sweep()
if wait then return wait end
local j, was, again = prepare_admission(a, false)
if not j then return was end
if not again then put_job(j, was, keep) end
return { 'ok', flat(j) }
