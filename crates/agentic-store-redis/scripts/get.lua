-- Reads a task as it is seen.
-- ARGV: now, id. Answers ok with the view, or nf.
local t = load(take())
if not t then return { 'nf' } end
return { 'ok', view(t) }
