-- Reads a part of the running attempts whose lease has run out, longest ago first.
-- ARGV: now, from which score on, how many. Answers ok with pairs of task and attempt, and how many were looked at and where
-- the next part begins.
local ids, next_part = run_out('leases', take(), take())
local pairs_found = {}
for _, id in ipairs(ids) do
  local t = load(id)
  local attempt = load_attempt(job_id(id, t.attempt))
  if attempt then pairs_found[#pairs_found + 1] = { flat(t), flat(attempt) } end
end
return { 'ok', pairs_found, next_part }
