-- Reads a part of the open jobs whose reservation has run out, longest ago first.
-- ARGV: now, 'lapsed' (seen to have run out) or 'open' (not yet), expiry and id of the last one seen, how many.
-- Answers ok with expiry and id of the last one ('' when the list is at its end), and the jobs.
-- Bound: as many jobs as it is asked for.
local ids, next_at, next_id = run_out(take(), maybe(), maybe(), tonumber(take()))
for i, id in ipairs(ids) do ids[i] = flat(load_job(id)) end
return { 'ok', next_at, next_id, ids }
