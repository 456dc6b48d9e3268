-- Reads a part of the running attempts whose lease has run out, longest ago first.
-- ARGV: now, lease and id of the last one seen, how many. Answers ok with lease and id of the last one looked at ('' when
-- the list is at its end), and pairs of task and attempt.
-- Bound: as many tasks as it is asked for.
local ids, next_at, next_id = run_out('leases', maybe(), maybe(), tonumber(take()))
local pairs_found = {}
for _, id in ipairs(ids) do
  local t = load(id)
  local attempt = load_attempt(job_id(id, t.attempt))
  if attempt then pairs_found[#pairs_found + 1] = { flat(t), flat(attempt) } end
end
return { 'ok', next_at, next_id, pairs_found }
