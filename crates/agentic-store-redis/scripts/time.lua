-- Reads the server's clock; of the node that holds the fleet, on a cluster.
-- ARGV: now (ignored). Answers ok, milliseconds.
-- Bound: nothing is read.
local told = redis.call('TIME')
return { 'ok', n(tonumber(told[1]) * 1000 + math.floor(tonumber(told[2]) / 1000)) }
