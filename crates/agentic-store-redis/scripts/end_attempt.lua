-- Ends an attempt: the task's half of `finish`.
-- ARGV: now, the ending. Answers ok with the task and how many dependents are left to release; late or no with the
-- rows; or nf.
-- Bound: one task and its attempt, and 40 of its dependents, which are 1,000 at most.
local e = take_ending()
local verdict, v = judge(e)
return carry_out(e, verdict, v)
