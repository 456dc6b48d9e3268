-- Reads a part of the meters or of their opening balance, and where the ledger ends at that moment.
-- ARGV: now, 'meters' or 'opening', then a cursor of a walk over the hash and how much of it, or '' and some fields.
-- Answers ok with how often the ledger was folded, the id of its last entry ('' when there is none), the next cursor ('0'
-- at the end of the walk), and fields and values; a field that is not there is left out, one may be walked over twice.
-- Bound: a part of a walk, or the fields that are named.
local key, cursor = P .. take(), maybe()
local last = redis.call('XREVRANGE', P .. 'entries', '+', '-', 'COUNT', 1)[1]
local next_cursor, found = '0', {}
if cursor then
  local part = redis.call('HSCAN', key, cursor, 'COUNT', take())
  next_cursor, found = part[1], part[2]
else
  while at < #ARGV do
    local field = take()
    local value = redis.call('HGET', key, field)
    if value then
      found[#found + 1] = field
      found[#found + 1] = value
    end
  end
end
return { 'ok', redis.call('GET', P .. 'folds') or '0', last and last[1] or '', next_cursor, found }
