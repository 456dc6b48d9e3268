-- Wakes parked lanes, and counts as a wake-up.
-- ARGV: now, 'lane', 'scope' or 'all', its name, limit. Answers ok with how many were woken.
local kind, name, limit = take(), take(), tonumber(take())
return { 'ok', n(wake(kind, name, limit)) }
