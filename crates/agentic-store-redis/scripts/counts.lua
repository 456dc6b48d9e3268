-- Counts the tasks by status.
-- ARGV: now, the statuses. Answers ok with the counts in that order.
-- Bound: one number a status.
local answer = { 'ok' }
for i = 2, #ARGV do answer[i] = n(redis.call('ZCARD', P .. 'status:' .. ARGV[i])) end
return answer
