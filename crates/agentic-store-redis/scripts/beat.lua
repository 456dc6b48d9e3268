-- Starts and renews the named attempts of one start of an agent, and charges their growth.
-- ARGV: now, agent, incarnation, now as text and the time to live of a sign of life (ms) if it is to be heard, else two empty
-- ones, then for each attempt job, task, number and figures.
-- Answers ok with directive, reason, lease, what remains, what the job was charged and where that comes from, for each; where
-- it was heard its record stands before and its load behind these. Or nf; no; again.
-- Bound: the attempts that it is given, as `assign` each, and a sweep.
local agent, incarnation, stamp, ttl = take(), maybe(), maybe(), maybe()
local wait = sweep()
if wait then return wait end
local json, refusal
if stamp then json, refusal = hear(agent, incarnation, NOW, stamp, ttl) end
if refusal then return refusal end

-- Until when a renewal lasts: one lease, but not past the deadline.
local function renewed_until(attempt)
  local secs, nanos = string.match(attempt.lease, '^(%d+)%.(%d+)$')
  local till = now + tonumber(secs) * 1000 + math.floor(tonumber(nanos) / 1000000)
  till = math.min(till, 253402127999999)
  if attempt.deadline then till = math.min(till, tonumber(attempt.deadline)) end
  return n(till)
end

local function stop(reason, lease)
  return { 'stop', reason, lease or '', '' }
end

-- An answer with what the job was charged; without a job nothing.
local function costing(answer, j)
  local cost, source = 0, nil
  if j then cost, source = cost_of(j) end
  answer[5], answer[6] = n(cost), source or ''
  return answer
end

-- The attempt, if it runs or begins now; nil when it is not the agent's.
local function begin(s, t, j)
  local attempt, _, only_now = prepare_start(s, t)
  if not attempt then return nil end
  if only_now then
    if not is_live(j) then return nil end
    if j.state == 'reserved' then mark_started(j) end
    redis.call('HSET', P .. 'attempt:' .. s.job, 'started_at', NOW)
  end
  return attempt
end

local function beat(id, task, number, figures)
  local was = load_job(id)
  if not was or was.agent_id ~= agent then return costing(stop('lease_lost')) end
  local j = copy(was)
  local t = load_hot(task)
  local attempt, lost
  if t and t.attempt == number and t.status == 'cancelled' then
    lost = 'cancelled'
  elseif not t or not holds(t, agent, number) then
    lost = 'lease_lost'
  else
    attempt = begin({ job = id, task = task, attempt = number, agent = agent, incarnation = incarnation }, t, j)
    if not attempt then lost = 'lease_lost' end
  end
  if figures then charge(j, 0, figures) end
  if lost then
    put_job(j, was)
    return costing(stop(lost), j)
  end
  local directive, reason, remaining = stand(j, 0)
  local answer
  if attempt.deadline and tonumber(attempt.deadline) <= now then
    answer = stop('time_bound')
  elseif directive == 'stop' then
    -- A stopped attempt keeps its lease to come to an end in, and gets no longer one.
    answer = stop(reason or '', t.lease_expires_at)
  elseif not hold_longer(j, renewed_until(attempt)) then
    answer = stop('lease_lost')
  else
    local renewed = copy(t)
    renewed.lease_expires_at = j.expires_at
    put(renewed, t)
    answer = { directive, reason or '', j.expires_at, remaining and n(remaining) or '' }
  end
  put_job(j, was)
  return costing(answer, j)
end

local answers = {}
while at < #ARGV do
  local id, task, number = take(), take(), take()
  answers[#answers + 1] = beat(id, task, number, take_figures())
end
if not json then return { 'ok', answers } end
return { 'ok', json, answers, n(held('agent:' .. agent).active) }
