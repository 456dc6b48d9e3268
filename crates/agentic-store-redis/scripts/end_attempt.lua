-- Ends an attempt: the task's half of `finish`.
-- ARGV: now, the ending. Answers ok with the task and how many dependents are left to release; late or no with the
-- rows; or nf.
local e = take_ending()
local verdict, v = judge(e)
return carry_out(e, verdict, v)
