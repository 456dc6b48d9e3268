-- Charges the growth since the highest report, whatever the state of the job.
-- ARGV: now, what an admission of the job would ask if it was never admitted, the
-- model of the report, the figures, why it must stop. Answers ok with directive, reason, what remains, what the job was charged and where
-- that comes from, and whether the job was not admitted and is late.
-- Bound: the lines of one job, one a model that was reported, and the limits of one.
local a, model, figures = take_admission(), maybe(), take_figures()
local must_stop = maybe()
local was = load_job(a.job)
local j
if was then
  j = copy(was)
else
  j = new_job(a)
  j.unadmitted = '1'
  mark_started(j)
end
if j.unadmitted and is_open(j) and tonumber(a.expires_at) > tonumber(j.expires_at) then j.expires_at = a.expires_at end
if j.state == 'reserved' then mark_started(j) end
local line = 0
if model then
  line = nil
  for i = 0, tonumber(j.lines) - 1 do
    if not line and j['model' .. i] == model then line = i end
  end
  if not line then
    line = tonumber(j.lines)
    j.lines = n(line + 1)
    j['model' .. line], j['price' .. line], j['limits' .. line] = model, a.price, a.limits
  end
end
-- Nobody else brings the limits of what was not admitted up to date.
if line > 0 or j.unadmitted then j['limits' .. line] = a.limits end
charge(j, line, figures)
local stopped = j.stopped
local directive, reason, remaining = stand(j, line)
if must_stop and is_open(j) then
  if not stopped then told(j, 'job_stopped', '"reason":' .. q(must_stop)) end
  j.stopped, directive, reason = '1', 'stop', must_stop
end
local cost, source = cost_of(j)
put_job(j, was)
return {
  'ok', directive, reason or '', remaining and n(remaining) or '', n(cost), source or '', j.unadmitted or '', j.late or ''
}
