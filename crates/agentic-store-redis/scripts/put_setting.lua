-- Sets or removes a setting.
-- ARGV: now, key, value ('=' in front; '' removes). Answers ok.
-- Bound: one setting.
local key, value = take(), text()
if value then
  redis.call('HSET', P .. 'settings', key, value)
else
  redis.call('HDEL', P .. 'settings', key)
end
return { 'ok' }
