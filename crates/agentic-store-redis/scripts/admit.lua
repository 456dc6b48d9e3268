-- Finds room under every limit and takes the job's place.
-- ARGV: now, how long ended jobs are kept (ms), the admission. Answers ok with the job; full with the limit that has no
-- room and its figures; no with the job that stands; or again.
local keep, a = take(), take_admission()
if sweep() then return { 'again' } end
local j, was, again = prepare_admission(a, false)
if not j then return was end
if not again then put_job(j, was, keep) end
return { 'ok', flat(j) }
