-- The pieces of a claim and of an ending that the tasks' half and the ledger share.

-- The next arguments: a claim.
local function take_claim()
  return {
    job = take(), task = take(), attempt = take(), agent = take(), incarnation = maybe(), lease = take(),
    expires_at = take(), deadline = maybe(), dispatched = take() == '1'
  }
end

-- The writes of a claim that `step_claim` allowed. The attempt is a new one: `prune` takes all of a task with it.
local function commit_claim(c, t, was)
  put(t, was)
  put_attempt(c.job, {
    agent_id = c.agent, incarnation = c.incarnation or '0', claimed_at = NOW, lease = c.lease,
    deadline = c.deadline, started_at = not c.dispatched and NOW or nil
  })
  tell(t.id)
end

-- The next arguments: a start.
local function take_start()
  return { job = take(), task = take(), attempt = take(), agent = maybe(), incarnation = maybe() }
end

-- Checks a start: the task, its attempt and whether it starts only now; or nil and the rows.
local function prepare_start(s, t)
  if not t or not holds(t, s.agent, s.attempt) then return nil end
  local attempt = load_attempt(job_id(s.task, t.attempt))
  if not attempt or (s.incarnation and s.incarnation ~= attempt.incarnation) then return nil, attempt end
  if attempt.started_at then return attempt, attempt, false end
  if t.lease_expires_at and tonumber(t.lease_expires_at) <= now then return nil, attempt end
  return attempt, attempt, true
end

-- The next arguments: an ending.
local function take_ending()
  return {
    task = take(), attempt = maybe(), agent = maybe(), kind = take(), digest = take(), outcome = take(),
    proves = take() == '1', said = take(), sent = take(), next = maybe(), next_at = maybe(), next_text = maybe()
  }
end

-- Holds an ending against the fence: 'repeated', 'accepted' (with the task to write), 'late', or 'no'; and the rows.
local function judge(e)
  local was = load(e.task)
  if not was then return 'nf' end
  local v = { was = was }
  v.id = job_id(e.task, e.attempt or was.attempt)
  v.attempt = load_attempt(v.id)
  if not e.attempt and not (v.attempt and v.attempt.digest == e.digest) and not holds(was, e.agent) then return 'no', v end
  if not v.attempt or (e.agent and e.agent ~= v.attempt.agent_id) then return 'no', v end
  v.current = not e.attempt or e.attempt == was.attempt
  local repeated = v.attempt.digest == e.digest
  if v.current and repeated then return 'repeated', v end
  if v.current and (not v.attempt.ended_at or (was.lapsed and e.proves)) then
    v.t = copy(was)
    v.t.claimed_by = v.attempt.agent_id
    if not step_end(v.t, copy(v.t), e) then return 'no', v end
    v.ended = copy(v.attempt)
    v.ended.started_at = v.attempt.started_at or (e.proves and NOW or nil)
    v.ended.ended_at = NOW
    v.ended.outcome = e.outcome
    v.ended.digest = e.digest
    return 'accepted', v
  end
  if e.kind == 'expired' then return 'no', v end
  -- What was given back brings nothing to review.
  v.keep = e.proves and not repeated and v.attempt.late_digest ~= e.digest
  return 'late', v
end

-- Writes what a verdict comes to; answers the caller.
local function carry_out(e, verdict, v)
  if verdict == 'nf' then return { 'nf' } end
  if verdict == 'no' then return no(v.was, v.attempt) end
  if verdict == 'repeated' then return { 'ok', flat(v.was), 0 } end
  if verdict == 'accepted' then
    put(v.t, v.was)
    put_attempt(v.id, v.ended, v.attempt)
    tell(v.t.id)
    local later = 0
    if v.t.status == 'completed' then later = release_dependents(v.t.id) end
    return { 'ok', flat(v.t), later }
  end
  if v.keep then
    local code = v.current and 'already_ended' or 'stale_attempt'
    local number = e.attempt or v.was.attempt
    emit('late_result', e.task, v.attempt.agent_id,
      '{"attempt":' .. number .. ',"code":"' .. code .. '","sent":' .. e.sent .. '}')
    redis.call('HSET', P .. 'attempt:' .. v.id, 'late_digest', e.digest)
  end
  return { 'late', flat(v.was), flat(v.attempt), {}, '' }
end
