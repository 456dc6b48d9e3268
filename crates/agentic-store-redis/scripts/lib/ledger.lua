-- Jobs, what they hold, and meters, as `agentic_core::engine::ledger` has them. Limits come from the caller as
-- [scope, meter, window, step, from, to, cap]: summed are the buckets of `step` milliseconds whose distance to the
-- present one is `from` to `to`. Nothing here knows what a limit is for.
local MAX = 9007199254740991
local UNITS = { 'active', 'unstarted', 'tokens' }

-- Sums that stop at the largest amount.
local function plus(a, b)
  return math.min(a + b, MAX)
end

local function minus(a, b)
  return math.max(a - b, 0)
end

-- The part of an amount in percent, rounded up, without a product above 2^53.
local function percent(cap, part)
  local rest = cap % 100
  return (cap - rest) / 100 * part + math.ceil(rest * part / 100)
end

-- tokens * picodollars / 1,000,000 as a whole and a rest below 10^12, exactly: no factor below 2^53 is lost.
local function millionth(tokens, price)
  local low = price % 1000000
  local few = tokens % 1000000
  local whole = tokens * ((price - low) / 1000000) + (tokens - few) / 1000000 * low
  return whole, few * low
end

local function load_job(id)
  return read(P .. 'job:' .. id)
end

local function is_open(j)
  return j.state == 'reserved' or j.state == 'started'
end

local function is_live(j)
  return is_open(j) and tonumber(j.expires_at) > now
end

-- A figure of a line, 0 when there is none.
local function figure(j, name, line)
  return tonumber(j[name .. line]) or 0
end

local function tokens_of(j, line)
  return plus(figure(j, 'in', line), figure(j, 'out', line))
end

local function gross(j)
  local sum = 0
  for line = 0, tonumber(j.lines) - 1 do sum = plus(sum, tokens_of(j, line)) end
  return sum
end

-- Tokens that a job asked for and has not used.
local function left(j)
  return minus(tonumber(j.ask), gross(j))
end

-- Every scope that a job counts under.
local function scopes(j)
  local list = { 'fleet', 'agent:' .. j.agent_id }
  if j.model0 then
    list[3] = 'model:' .. j.model0
    list[4] = 'agent:' .. j.agent_id .. ' model:' .. j.model0
  end
  if j.project then list[#list + 1] = 'project:' .. j.project end
  return list
end

-- Adds what a job holds, or takes it away, to the sums by scope.
local function account(j, sign, sums)
  local holds = { 1, j.state == 'reserved' and 1 or 0, left(j) }
  for _, scope in ipairs(scopes(j)) do
    for i, unit in ipairs(UNITS) do
      local field = scope .. ' ' .. unit
      sums[field] = (sums[field] or 0) + sign * holds[i]
    end
  end
end

-- Below this every sum of two is exact.
local EXACT = 4503599627370496

-- What this step knows of what scopes hold.
local held_known = {}

local function book_held(sums)
  local fields = {}
  held_known = {}
  for field, delta in pairs(sums) do
    if delta ~= 0 then fields[#fields + 1] = field end
  end
  for from = 1, #fields, 50 do
    local to = math.min(from + 49, #fields)
    local values = redis.call('HMGET', P .. 'held', unpack(fields, from, to))
    local sets, gone = {}, {}
    for i = from, to do
      local field, value = fields[i], tonumber(values[i - from + 1]) or 0
      local delta = sums[field]
      if math.abs(value) >= EXACT or math.abs(delta) >= EXACT then
        redis.call('HINCRBY', P .. 'held', field, n(delta))
      elseif value + delta == 0 then
        gone[#gone + 1] = field
      else
        sets[#sets + 1] = field
        sets[#sets + 1] = n(value + delta)
      end
    end
    chunked('HSET', P .. 'held', sets)
    chunked('HDEL', P .. 'held', gone)
  end
end

-- How many reservations one step sees run out.
local LAPSES = 500

-- Open jobs whose places are counted stand in `open`; those that were seen to have run out stand in `lapsed` and are
-- not counted. Moves those that ran out; answers true when there are more than one step may move.
local function sweep()
  local due = redis.call('ZRANGEBYSCORE', P .. 'open', '-inf', n(now), 'LIMIT', 0, LAPSES)
  if #due == 0 then return false end
  local sums = {}
  for _, id in ipairs(due) do
    local j = load_job(id)
    account(j, -1, sums)
    redis.call('HSET', P .. 'job:' .. id, 'lapsed', '1')
    redis.call('ZREM', P .. 'open', id)
    redis.call('ZADD', P .. 'lapsed', j.expires_at, id)
  end
  book_held(sums)
  return #due == LAPSES
end

-- What jobs hold that another caller, whose clock is ahead, saw run out, and that have not at `now`.
local behind

local function held_behind()
  if not behind then
    behind = {}
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'lapsed', '(' .. n(now), '+inf')) do
      account(load_job(id), 1, behind)
    end
  end
  return behind
end

-- What live jobs hold under a scope; only after `sweep` has answered false.
local function held(scope)
  if held_known[scope] then return held_known[scope] end
  local values = redis.call('HMGET', P .. 'held', scope .. ' active', scope .. ' unstarted', scope .. ' tokens')
  local more = held_behind()
  local sums = {}
  for i, unit in ipairs(UNITS) do
    sums[unit] = math.min((tonumber(values[i]) or 0) + (more[scope .. ' ' .. unit] or 0), MAX)
  end
  held_known[scope] = sums
  return sums
end

-- Writes a job that was read as `was`, and what it holds. An ended one is kept for `keep` milliseconds, 0 = for ever.
local function put_job(j, was, keep)
  local sums = {}
  local was_open = was and is_open(was)
  if was_open and was.lapsed then
    redis.call('ZREM', P .. 'lapsed', j.id)
  elseif was_open then
    account(was, -1, sums)
  end
  j.lapsed = nil
  local key = P .. 'job:' .. j.id
  if is_open(j) then
    account(j, 1, sums)
    if not was_open or was.lapsed or was.expires_at ~= j.expires_at then
      redis.call('ZADD', P .. 'open', j.expires_at, j.id)
    end
  elseif was_open and not was.lapsed then
    redis.call('ZREM', P .. 'open', j.id)
  end
  book_held(sums)
  write(key, j, was)
  if is_open(j) then
    if was and not was_open then redis.call('PERSIST', key) end
  elseif keep ~= '0' then
    redis.call('PEXPIRE', key, keep)
  end
  behind = nil
end

local function cap_of(limit)
  return limit[7] ~= cjson.null and tonumber(limit[7]) or nil
end

local function bucket_of(limit, when)
  local step = tonumber(limit[4])
  return step == 0 and 0 or math.floor(when / step)
end

local function field_of(limit, bucket)
  return limit[1] .. ' ' .. limit[2] .. ' ' .. limit[3] .. ' ' .. n(bucket)
end

-- What this step knows of the buckets of meters: 0 where there is none.
local known = {}

-- Reads the present buckets of the limits that count one only, all at once.
local function learn(limits)
  local fields = {}
  for _, limit in ipairs(limits) do
    if limit[5] == limit[6] then
      local field = field_of(limit, bucket_of(limit, now))
      if not known[field] then fields[#fields + 1] = field end
    end
  end
  for from = 1, #fields, 50 do
    local to = math.min(from + 49, #fields)
    local values = redis.call('HMGET', P .. 'meters', unpack(fields, from, to))
    for i = from, to do known[fields[i]] = tonumber(values[i - from + 1]) or 0 end
  end
end

local decoded = {}

-- Limits from their JSON.
local function limits_in(json)
  if not json then return {} end
  if not decoded[json] then
    decoded[json] = cjson.decode(json)
    learn(decoded[json])
  end
  return decoded[json]
end

-- The limits of a line.
local function limits_of(j, line)
  return limits_in(j['limits' .. line])
end

-- The filled buckets of a meter that count now, as a list of bucket and value.
local function buckets_of(limit)
  local present = bucket_of(limit, now)
  local first, last = present + limit[5], present + limit[6]
  local list, fields = {}, {}
  for bucket = first, last do fields[#fields + 1] = field_of(limit, bucket) end
  if #fields == 0 then return list end
  -- As many as the window has buckets: never what grows.
  local values = redis.call('HMGET', P .. 'meters', unpack(fields))
  for i, value in ipairs(values) do
    if value then
      list[#list + 1] = n(first + i - 1)
      list[#list + 1] = value
    end
  end
  return list
end

-- The sum of the buckets from first to last; never more than a window has.
local function sum_of(limit, first, last)
  local fields, sum = {}, 0
  if first == last and known[field_of(limit, first)] then return known[field_of(limit, first)] end
  for bucket = first, last do fields[#fields + 1] = field_of(limit, bucket) end
  if #fields == 0 then return 0 end
  for _, value in ipairs(redis.call('HMGET', P .. 'meters', unpack(fields))) do
    if value then sum = sum + tonumber(value) end
  end
  return sum
end

local function name_of(limit)
  return limit[1] .. ' ' .. limit[2] .. ' ' .. limit[3]
end

-- The sum that is kept beside a window of many buckets: its first and last bucket, and the sum.
local function kept_sum(limit)
  local kept = redis.call('HGET', P .. 'sums', name_of(limit))
  if not kept then return nil end
  local first, last, sum = string.match(kept, '^(%-?%d+),(%-?%d+),(%-?%d+)$')
  return tonumber(first), tonumber(last), tonumber(sum)
end

local function keep_sum(limit, first, last, sum)
  if math.abs(sum) < EXACT then
    redis.call('HSET', P .. 'sums', name_of(limit), n(first) .. ',' .. n(last) .. ',' .. n(sum))
  else
    redis.call('HDEL', P .. 'sums', name_of(limit))
  end
end

-- What a meter stands at; below zero reads as zero.
local function used(limit)
  local present = bucket_of(limit, now)
  local first, last = present + limit[5], present + limit[6]
  local sum
  if first >= last then
    sum = sum_of(limit, first, last)
  else
    local a, b, kept = kept_sum(limit)
    if a == first and b == last then
      sum = kept
    else
      if a and first >= a and first <= b and last >= b then
        sum = kept - sum_of(limit, a, first - 1) + sum_of(limit, b + 1, last)
      else
        sum = sum_of(limit, first, last)
      end
      keep_sum(limit, first, last, sum)
    end
  end
  return math.min(math.max(sum, 0), MAX)
end

-- Moves one bucket of a meter, and the sum that is kept of its window.
local function move(limit, bucket, delta)
  local field = field_of(limit, bucket)
  local moved = redis.pcall('HINCRBY', P .. 'meters', field, delta)
  if type(moved) == 'table' then
    -- Past the largest number; nobody can have used that much.
    local edge = string.sub(delta, 1, 1) == '-' and '-9223372036854775808' or '9223372036854775807'
    redis.call('HSET', P .. 'meters', field, edge)
    known[field] = tonumber(edge)
  else
    known[field] = moved
  end
  if limit[5] ~= limit[6] then
    local first, last, sum = kept_sum(limit)
    if first and first <= bucket and bucket <= last then keep_sum(limit, first, last, sum + tonumber(delta)) end
  end
  return moved
end

-- Finds room under every limit: nil, or the refusal of the first that has none.
local function find_room(limits, ask)
  for _, limit in ipairs(limits) do
    local cap = cap_of(limit)
    if cap then
      local meter = limit[2]
      local need = meter == 'tokens' and math.max(ask, 1) or 1
      local sums = held(limit[1])
      local reserved = 0
      if meter == 'tokens' then
        reserved = sums.tokens
      elseif meter == 'jobs' or meter == 'requests' then
        reserved = sums.unstarted
      elseif meter == 'active_jobs' then
        reserved = sums.active
      end
      -- One term at a time, so that no sum passes 2^53.
      if used(limit) > cap - need - reserved then
        return { 'full', cjson.encode(limit), n(ask), n(sums.active), n(sums.unstarted), n(sums.tokens), buckets_of(limit) }
      end
    end
  end
end

-- Moves the meters and keeps the entry, together or not at all.
local function book(kind, job, agent, model, moves)
  if #moves == 0 then return end
  local list = {}
  for i, item in ipairs(moves) do
    local limit, bucket, delta = item[1], item[2], item[3]
    move(limit, bucket, delta)
    -- When the bucket stops counting, 0 = never.
    local frees_at = (bucket + 1 - limit[5]) * limit[4]
    list[i] = '[' .. q(field_of(limit, bucket)) .. ',' .. delta .. ',' .. n(frees_at) .. ']'
  end
  local id = redis.call('XADD', P .. 'entries', '*', 'kind', kind, 'at', n(now), 'job', job or '', 'agent', agent,
    'model', model or '', 'moves', '[' .. table.concat(list, ',') .. ']')
  redis.call('XADD', P .. 'entries:' .. agent, id, 'e', '')
end

-- Moves every meter of a line that counts what was used, and warns of limits that cross 80 %.
local function spend(j, line, kind, spent)
  local moves = {}
  local limits = limits_of(j, line)
  for _, pair in ipairs(spent) do
    local meter, amount = pair[1], pair[2]
    if amount ~= 0 then
      for _, limit in ipairs(limits) do
        if limit[2] == meter then moves[#moves + 1] = { limit, bucket_of(limit, now), n(amount) } end
      end
      for _, limit in ipairs(limits) do
        local cap = cap_of(limit)
        if cap and limit[2] == meter then
          local before = used(limit)
          local after = plus(before, amount)
          local mark = percent(cap, 80)
          if before < mark and after >= mark then
            emit('quota_warning', j.task, j.agent_id,
              '{"limit":' .. q(name_of(limit)) .. ',"used":' .. n(after) .. ',"cap":' .. n(cap) .. '}')
          end
        end
      end
    end
  end
  book(kind, j.id, j.agent_id, j['model' .. line], moves)
end

-- Tells of a job; `fields` is the inside of a JSON object.
local function told(j, what, fields)
  local inside = (fields and fields .. ',' or '') .. '"event":"' .. what .. '","job_id":' .. q(j.id)
  if j.unadmitted then inside = inside .. ',"unadmitted":true' end
  emit('usage_recorded', j.task, j.agent_id, '{' .. inside .. '}')
end

-- Turns the place into one used job and one used request.
local function mark_started(j)
  j.state = 'started'
  j.started_at = n(now)
  spend(j, 0, 'start', { { 'jobs', 1 }, { 'requests', 1 } })
  told(j, 'job_started')
end

-- The charges of a job, oldest first, as lists of line, time and tokens.
local function charges_of(j)
  local list = {}
  for line, when, tokens in string.gmatch(j.charges or '', '(%d+),(%-?%d+),(%d+)') do
    list[#list + 1] = { line, tonumber(when), tonumber(tokens) }
  end
  return list
end

local DAY = 86400000

-- Notes that tokens were charged; charges of one line and day are one.
local function note_charge(j, line, tokens)
  if tokens == 0 then return end
  local list = charges_of(j)
  local day = math.floor(now / DAY)
  local same
  for _, charge in ipairs(list) do
    if tonumber(charge[1]) == line and math.floor(charge[2] / DAY) == day then same = charge end
  end
  if same then
    same[3] = plus(same[3], tokens)
  else
    list[#list + 1] = { n(line), now, tokens }
  end
  local parts = {}
  for i, charge in ipairs(list) do parts[i] = charge[1] .. ',' .. n(charge[2]) .. ',' .. n(charge[3]) end
  j.charges = table.concat(parts, ';')
end

-- The next arguments: cumulative figures, nil when none were sent.
local function take_figures()
  if take() == '0' then return nil end
  return { ['in'] = tonumber(take()), out = tonumber(take()), cm = tonumber(maybe()), rq = tonumber(maybe()) }
end

-- Charges the growth of one line since its highest report.
local function charge(j, line, figures)
  local before = tokens_of(j, line)
  for name, value in pairs(figures) do
    local field = name .. line
    local high = tonumber(j[field])
    if not high or value > high then j[field] = n(value) end
  end
  local tokens = minus(tokens_of(j, line), before)
  local known = figure(j, 'cost', line)
  local cost = tonumber(j['cm' .. line])
  local price = j['price' .. line]
  if not cost and price then
    local input, output = string.match(price, '^(%d+),(%d+)$')
    local a, low_a = millionth(figure(j, 'in', line), tonumber(input))
    local b, low_b = millionth(figure(j, 'out', line), tonumber(output))
    cost = plus(plus(a, b), math.ceil((low_a + low_b) / 1000000))
  end
  local growth = cost and minus(cost, known) or 0
  j['cost' .. line] = n(math.max(known, cost or known))
  if tokens == 0 and growth == 0 then return end
  if j.state == 'reserved' then mark_started(j) end
  spend(j, line, 'charge', { { 'tokens', tokens }, { 'cost', growth } })
  if is_open(j) then note_charge(j, line, tokens) else j.late = '1' end
end

-- Ends an open job: the refund, and the release of its place.
local function close(j, outcome)
  j.outcome = outcome
  if j.state == 'reserved' then
    j.state = 'void'
    return
  end
  j.state = 'settled'
  local list = charges_of(j)
  local back = 0
  if not j.stopped then
    local charged = 0
    for _, item in ipairs(list) do charged = plus(charged, item[3]) end
    if outcome == 'failed' then
      back = math.floor(charged / 2)
    elseif outcome == 'cancelled' then
      back = charged
    end
  end
  local refunded = 0
  for i = #list, 1, -1 do
    local line, when, tokens = list[i][1], list[i][2], math.min(list[i][3], back)
    back = back - tokens
    if tokens > 0 then
      refunded = plus(refunded, tokens)
      local moves = {}
      for _, limit in ipairs(limits_of(j, line)) do
        if limit[3] == 'day' and limit[2] == 'tokens' then
          -- What a reset took off already is not given back once more, as room above the cap.
          local bucket = bucket_of(limit, when)
          local stands = tonumber(redis.call('HGET', P .. 'meters', field_of(limit, bucket)) or '0')
          local delta = math.min(tokens, math.max(stands, 0))
          if delta > 0 then moves[#moves + 1] = { limit, bucket, '-' .. n(delta) } end
        end
      end
      book('refund', j.id, j.agent_id, j['model' .. line], moves)
    end
  end
  local cost = 0
  for line = 0, tonumber(j.lines) - 1 do cost = plus(cost, figure(j, 'cost', line)) end
  told(j, 'job_' .. outcome,
    '"tokens":' .. n(gross(j)) .. ',"cost_micros":' .. n(cost) .. ',"refunded_tokens":' .. n(refunded))
end

local WORDS = { 'continue', 'wrap_up', 'stop' }

-- What the limits of a line say to its running job: directive, reason and remaining tokens. A job that is told to stop
-- is marked so.
local function stand(j, line)
  local level, reason, remaining = 1, nil, nil
  for _, limit in ipairs(limits_of(j, line)) do
    local cap = cap_of(limit)
    if cap and (limit[2] == 'tokens' or limit[2] == 'cost') then
      local spent = used(limit)
      local says = spent >= cap and 3 or spent >= percent(cap, 90) and 2 or 1
      if says > level then
        level = says
        reason = n(spent) .. ' used of ' .. n(cap) .. ': ' .. name_of(limit)
      end
      if limit[2] == 'tokens' then remaining = math.min(remaining or MAX, minus(cap, spent)) end
    end
  end
  if not is_open(j) then
    level, reason = 3, 'lease_lost'
  elseif level == 3 then
    j.stopped = '1'
  elseif j.stopped then
    level = 3
    reason = reason or 'a limit told this job to stop before'
  end
  return WORDS[level], reason, remaining
end

-- Extends an open job; one that has run out retakes its place. True, or false and why not: a reply, or nothing.
local function hold_longer(j, expires_at)
  if not is_open(j) then return false end
  if not is_live(j) then
    local started = j.state == 'started'
    local again = {}
    for _, limit in ipairs(limits_of(j, 0)) do
      local meter = limit[2]
      if meter == 'tokens' or meter == 'active_jobs' or (not started and meter ~= 'cost') then
        again[#again + 1] = limit
      end
    end
    local full = find_room(again, left(j))
    if full then return false, full end
  end
  if tonumber(expires_at) > tonumber(j.expires_at) then j.expires_at = expires_at end
  return true
end

-- The next arguments: what an admission asks.
local function take_admission()
  return {
    job = take(), task = take(), id = take(), agent = take(), model = maybe(), project = maybe(), price = maybe(),
    limits = take(), ask = take(), expires_at = take()
  }
end

local function new_job(a)
  return {
    id = a.job, task = a.task, admission = a.id, agent_id = a.agent, project = a.project, ask = a.ask,
    admitted_at = n(now), expires_at = a.expires_at, state = 'reserved', lines = '1',
    model0 = a.model, price0 = a.price, limits0 = a.limits
  }
end

-- Checks an admission: the job to write and the one that stands, or nil and the refusal. `fresh`: the task says that
-- there was no such attempt before, so that a job of that name which is over was an earlier task's with the same id.
local function prepare_admission(a, fresh)
  local was = load_job(a.job)
  -- What nobody admitted keeps nobody out: it is charged, and anybody may have reported it.
  if was and not was.unadmitted then
    local lives = is_live(was)
    if lives and was.admission == a.id then return copy(was), was, true end
    local over = was.state == 'started' or was.state == 'settled'
    if lives or (over and not fresh) then return nil, no(nil, nil, was) end
  end
  local full = find_room(limits_in(a.limits), tonumber(a.ask))
  if full then return nil, full end
  return new_job(a), was, false
end
