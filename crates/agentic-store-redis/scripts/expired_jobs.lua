-- Reads a part of the open jobs whose reservation has run out, longest ago first.
-- ARGV: now, 'lapsed' (seen to have run out) or 'open' (not yet), from which score on, how many.
-- Answers ok with the jobs, and how many they are and where the next part begins.
local ids, next_part = run_out(take(), take(), take())
for i, id in ipairs(ids) do ids[i] = flat(load_job(id)) end
return { 'ok', ids, next_part }
