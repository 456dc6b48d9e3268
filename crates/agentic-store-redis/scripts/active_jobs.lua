-- Counts the live reservations of agents.
-- ARGV: now, the scopes. Answers ok with the counts; or again.
-- Bound: the scopes that it is asked for, and a sweep.
local wait = sweep()
if wait then return wait end
local names, counts = {}, {}
for i = 2, #ARGV do names[i - 1] = ARGV[i] end
learn_held(names)
for i, scope in ipairs(names) do counts[i] = n(held(scope).active) end
return { 'ok', counts }
