-- Reads a task as it is seen.
-- ARGV: now, id. Answers ok with the view, or nf.
-- Bound: one task, its dependencies (100) and its dependents (1,000).
local t = load(take())
if not t then return { 'nf' } end
return { 'ok', view(t) }
