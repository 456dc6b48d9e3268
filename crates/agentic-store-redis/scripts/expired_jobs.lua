-- Reads the open jobs whose reservation has run out, longest ago first in either part.
-- ARGV: now, limit. Answers ok with the jobs, those not yet seen to have run out after the others.
local limit = take()
local jobs = {}
for _, key in ipairs({ 'lapsed', 'open' }) do
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. key, '-inf', NOW, 'LIMIT', 0, limit)) do
    jobs[#jobs + 1] = flat(load_job(id))
  end
end
return { 'ok', jobs }
