-- Ends an attempt and settles its job.
-- ARGV: now, the figures, the ending. Answers ok with the task and how many
-- dependents are left to release; late or no with the rows; or nf.
-- Bound: one task, its attempt and the lines of its job, and 40 of its dependents, which are 1,000 at most.
local figures, e = take_figures(), take_ending()
local verdict, v = judge(e)
if verdict == 'accepted' or verdict == 'late' or (verdict == 'repeated' and figures) then
  local outcome = verdict == 'late' and (v.attempt.outcome or 'failed') or e.outcome
  if outcome == 'expired' then outcome = 'failed' end
  -- A job that is not known was admitted elsewhere; its settlement is done there.
  local was = load_job(v.id)
  if was then
    local j = copy(was)
    if j.state == 'reserved' and e.proves then mark_started(j) end
    if figures then
      charge(j, 0, figures)
      stand(j, 0)
    end
    if is_open(j) then close(j, outcome) end
    put_job(j, was)
  end
end
return carry_out(e, verdict, v)
