-- Reads the meters, and where the ledger ends at that moment.
-- ARGV: now. Answers ok with the id of the last entry ('' when there is none) and how many there are, the meters, and
-- their opening balance.
local last = redis.call('XREVRANGE', P .. 'entries', '+', '-', 'COUNT', 1)[1]
return { 'ok', last and last[1] or '', n(redis.call('XLEN', P .. 'entries')), redis.call('HGETALL', P .. 'meters'), redis.call('HGETALL', P .. 'opening') }
