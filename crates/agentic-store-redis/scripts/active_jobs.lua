-- Counts the live reservations of agents.
-- ARGV: now, the scopes. Answers ok with the counts; or again.
if sweep() then return { 'again' } end
local counts = {}
for i = 2, #ARGV do counts[i - 1] = n(held(ARGV[i]).active) end
return { 'ok', counts }
