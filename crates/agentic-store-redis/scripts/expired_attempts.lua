-- Reads the running attempts whose lease has run out, longest ago first.
-- ARGV: now, limit. Answers ok with pairs of task and attempt.
local pairs_found = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'leases', '-inf', NOW, 'LIMIT', 0, take())) do
  local t = load(id)
  local attempt = load_attempt(job_id(id, t.attempt))
  if attempt then pairs_found[#pairs_found + 1] = { flat(t), flat(attempt) } end
end
return { 'ok', pairs_found }
