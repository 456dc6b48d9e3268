-- Jobs, what they hold, and meters, as `agentic_core::engine::ledger` has them. Limits come from the caller as
-- [scope, meter, window, step, from, to, cap, origin]: summed are the buckets of `step` milliseconds, the first of which
-- begins at `origin`, whose distance to the present one is `from` to `to`. Nothing here knows what a limit is for.
local MAX = 9007199254740991

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

-- Tokens are summed in two parts, their multiples of 2^30 and the rest, so that no sum is rounded.
local HIGH = 1073741824

-- Adds what a job holds to the rows by scope, or takes it away; what nobody admitted holds nothing.
local function hold(j, sign, rows)
  if j.unadmitted then return end
  local unstarted = j.state == 'reserved' and sign or 0
  local tokens = left(j)
  local high = math.floor(tokens / HIGH)
  for _, scope in ipairs(scopes(j)) do
    local row = rows[scope] or { 0, 0, 0, 0 }
    rows[scope] = row
    row[1] = row[1] + sign
    row[2] = row[2] + unstarted
    row[3] = row[3] + sign * high
    row[4] = row[4] + sign * (tokens - high * HIGH)
  end
end

-- What this step knows of what scopes hold: active jobs, unstarted ones, and tokens in their two parts; and which of it
-- it changed.
local held_known, held_changed = {}, {}

-- Reads what scopes hold, all at once.
local function learn_held(names)
  local asked = {}
  for _, scope in ipairs(names) do
    if not held_known[scope] then
      held_known[scope] = { 0, 0, 0, 0 }
      asked[#asked + 1] = scope
    end
  end
  for from = 1, #asked, 100 do
    local to = math.min(from + 99, #asked)
    local values = redis.call('HMGET', P .. 'held', unpack(asked, from, to))
    for i = from, to do
      local value = values[i - from + 1]
      if value then
        local active, unstarted, high, low = string.match(value, '^(%d+) (%d+) (%d+) (%d+)$')
        held_known[asked[i]] = { tonumber(active), tonumber(unstarted), tonumber(high), tonumber(low) }
      end
    end
  end
end

local function write_held()
  local sets, gone = {}, {}
  for scope in pairs(held_changed) do
    local row = held_known[scope]
    if row[1] == 0 then
      gone[#gone + 1] = scope
    else
      sets[#sets + 1] = scope
      sets[#sets + 1] = n(row[1]) .. ' ' .. n(row[2]) .. ' ' .. n(row[3]) .. ' ' .. n(row[4])
    end
  end
  chunked('HSET', P .. 'held', sets)
  chunked('HDEL', P .. 'held', gone)
end

-- Adds what a job holds, or takes it away.
local function account(j, sign)
  local names = scopes(j)
  learn_held(names)
  hold(j, sign, held_known)
  for _, scope in ipairs(names) do held_changed[scope] = true end
  later(write_held)
end

-- How many reservations one step moves either way.
local LAPSES = 50

-- Moves open jobs from one set to the other.
local function move_jobs(ids, from, to)
  -- First what takes no memory: Redis lets a script that has written go on when memory is short.
  chunked('ZREM', P .. from, ids)
  local scores = {}
  for _, id in ipairs(ids) do
    local j = load_job(id)
    if to == 'open' then
      account(j, 1)
      redis.call('HDEL', P .. 'job:' .. id, 'lapsed')
    else
      account(j, -1)
      redis.call('HSET', P .. 'job:' .. id, 'lapsed', '1')
    end
    scores[#scores + 1] = j.expires_at
    scores[#scores + 1] = id
  end
  chunked('ZADD', P .. to, scores)
end

-- Open jobs whose places are counted stand in `open`; those that were seen to have run out stand in `lapsed` and are
-- not counted. Moves those that ran out, and back those that a caller whose clock is ahead saw run out; answers nothing,
-- or a reply when there are more than one step may move.
local function sweep()
  local over = redis.call('ZRANGEBYSCORE', P .. 'open', '-inf', NOW, 'LIMIT', 0, LAPSES)
  local early = redis.call('ZRANGEBYSCORE', P .. 'lapsed', '(' .. NOW, '+inf', 'LIMIT', 0, LAPSES)
  move_jobs(over, 'open', 'lapsed')
  move_jobs(early, 'lapsed', 'open')
  return (#over == LAPSES or #early == LAPSES) and { 'again' } or nil
end

-- What live jobs hold under a scope; only after `sweep` has answered nothing.
local function held(scope)
  if not held_known[scope] then learn_held({ scope }) end
  local row = held_known[scope]
  return { active = row[1], unstarted = row[2], tokens = math.min(row[3] * HIGH + row[4], MAX) }
end

-- Whether two states of a job hold the same.
local function holds_the_same(j, was)
  return j.state == was.state and j.agent_id == was.agent_id and j.model0 == was.model0 and j.project == was.project
    and j.unadmitted == was.unadmitted and left(j) == left(was)
end

-- Writes a job that was read as `was`, and what it holds: one that has run out nothing, as another job of this step may
-- ask for its place. One that ends stands in `ended` until retention has looked at it.
local function put_job(j, was)
  local key = P .. 'job:' .. j.id
  local open, was_open = is_open(j), was and is_open(was)
  local stands = open and (is_live(j) and 'open' or 'lapsed')
  local stood = was_open and (was.lapsed and 'lapsed' or 'open')
  local counted, counts = stood == 'open', stands == 'open'
  if not (counted and counts and holds_the_same(j, was)) then
    if counted then account(was, -1) end
    if counts then account(j, 1) end
  end
  if stood and stood ~= stands then redis.call('ZREM', P .. stood, j.id) end
  if stands and not (stood == stands and was.expires_at == j.expires_at) then
    redis.call('ZADD', P .. stands, j.expires_at, j.id)
  end
  j.lapsed = stands == 'lapsed' and '1' or nil
  write(key, j, was)
  if open and was and not was_open then redis.call('ZREM', P .. 'ended', j.id) end
  if was_open and not open then redis.call('ZADD', P .. 'ended', j.ended_at, j.id) end
end

local function cap_of(limit)
  return limit[7] ~= cjson.null and tonumber(limit[7]) or nil
end

local function bucket_of(limit, when)
  local step = tonumber(limit[4])
  return step == 0 and 0 or math.floor((when - limit[8]) / step)
end

local function name_of(limit)
  limit.name = limit.name or limit[1] .. ' ' .. limit[2] .. ' ' .. limit[3]
  return limit.name
end

-- The field of a bucket; a step asks for one of a limit again and again.
local function field_of(limit, bucket)
  if limit.bucket ~= bucket then
    limit.bucket = bucket
    limit.field = name_of(limit) .. ' ' .. n(bucket)
  end
  return limit.field
end

-- Below this every sum of two is exact.
local EXACT = 4503599627370496

-- What this step knows of the buckets of meters, 0 where there is none, and which of them it moved.
local known, moved = {}, {}

-- Reads buckets that are not known yet.
local function learn_buckets(fields)
  local asked = {}
  for _, field in ipairs(fields) do
    if not known[field] then
      known[field] = 0
      asked[#asked + 1] = field
    end
  end
  for from = 1, #asked, 50 do
    local to = math.min(from + 49, #asked)
    local values = redis.call('HMGET', P .. 'meters', unpack(asked, from, to))
    for i = from, to do known[asked[i]] = tonumber(values[i - from + 1]) or 0 end
  end
end

-- What a bucket stands at.
local function stands_at(field)
  if not known[field] then learn_buckets({ field }) end
  return known[field]
end

-- The sums that are kept beside windows of many buckets, by name: first and last bucket and the sum, false when there is
-- none; and which of them this step changed.
local windows, windows_changed = {}, {}

-- Reads the sums of windows that are not known yet.
local function learn_windows(names)
  if #names == 0 then return end
  -- As many as one job has limits.
  for i, kept in ipairs(redis.call('HMGET', P .. 'sums', unpack(names))) do
    local first, last, sum = string.match(kept or '', '^(%-?%d+),(%-?%d+),(%-?%d+)$')
    windows[names[i]] = first and { tonumber(first), tonumber(last), tonumber(sum) } or false
  end
end

-- Reads what a step will ask of limits, all at once.
local function learn(limits)
  local fields, names = {}, {}
  for _, limit in ipairs(limits) do
    if limit[5] <= limit[6] then fields[#fields + 1] = field_of(limit, bucket_of(limit, now)) end
    if limit[5] < limit[6] and windows[name_of(limit)] == nil then names[#names + 1] = name_of(limit) end
  end
  learn_buckets(fields)
  learn_windows(names)
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

-- The filled buckets of a meter that count now, as a list of bucket and value; before this step moved any.
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
  for bucket = first, last do fields[#fields + 1] = field_of(limit, bucket) end
  learn_buckets(fields)
  for _, field in ipairs(fields) do sum = sum + known[field] end
  return sum
end

local function kept_sum(limit)
  local name = name_of(limit)
  if windows[name] == nil then learn_windows({ name }) end
  return windows[name]
end

local function write_windows()
  local sets, gone = {}, {}
  for name in pairs(windows_changed) do
    local window = windows[name]
    if window then
      sets[#sets + 1] = name
      sets[#sets + 1] = n(window[1]) .. ',' .. n(window[2]) .. ',' .. n(window[3])
    else
      gone[#gone + 1] = name
    end
  end
  chunked('HSET', P .. 'sums', sets)
  chunked('HDEL', P .. 'sums', gone)
end

local function keep_sum(limit, first, last, sum)
  local name = name_of(limit)
  windows[name] = math.abs(sum) < EXACT and { first, last, sum }
  windows_changed[name] = true
  later(write_windows)
end

-- What a meter stands at; below zero reads as zero.
local function used(limit)
  local present = bucket_of(limit, now)
  local first, last = present + limit[5], present + limit[6]
  local sum = 0
  if first == last then
    sum = stands_at(field_of(limit, last))
  elseif first < last then
    local kept = kept_sum(limit)
    if kept and kept[1] == first and kept[2] == last then
      sum = kept[3]
    else
      if kept and first >= kept[1] and first <= kept[2] and last >= kept[2] then
        sum = kept[3] - sum_of(limit, kept[1], first - 1) + sum_of(limit, kept[2] + 1, last)
      else
        sum = sum_of(limit, first, last)
      end
      keep_sum(limit, first, last, sum)
    end
  end
  return math.min(math.max(sum, 0), MAX)
end

local function write_meters()
  local sets = {}
  for field in pairs(moved) do
    sets[#sets + 1] = field
    sets[#sets + 1] = n(known[field])
  end
  chunked('HSET', P .. 'meters', sets)
  moved = {}
end

-- Moves one bucket of a meter, and the sum that is kept of its window; answers what the bucket stands at.
local function move(limit, bucket, delta)
  local field, by = field_of(limit, bucket), tonumber(delta)
  local stands = stands_at(field)
  if math.abs(stands) < EXACT and math.abs(by) < EXACT then
    known[field] = stands + by
    moved[field] = true
    later(write_meters)
  else
    write_meters()
    local sum = redis.pcall('HINCRBY', P .. 'meters', field, delta)
    if type(sum) == 'table' then
      -- Past the largest number; nobody can have used that much.
      local edge = by < 0 and '-9223372036854775808' or '9223372036854775807'
      redis.call('HSET', P .. 'meters', field, edge)
      sum = tonumber(edge)
    end
    known[field] = sum
  end
  if limit[5] < limit[6] then
    local kept = kept_sum(limit)
    if kept and kept[1] <= bucket and bucket <= kept[2] then keep_sum(limit, kept[1], kept[2], kept[3] + by) end
  end
  return known[field]
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
        -- What was noted on the limit is not of it.
        local told = cjson.encode({ unpack(limit) })
        return { 'full', told, n(ask), n(sums.active), n(sums.unstarted), n(sums.tokens), buckets_of(limit) }
      end
    end
  end
end

-- Moves the meters and keeps the entry, together or not at all.
local function book(kind, job, agent, model, moves, source)
  if #moves == 0 then return end
  local list = {}
  for i, item in ipairs(moves) do
    local limit, bucket, delta = item[1], item[2], item[3]
    move(limit, bucket, delta)
    -- When the bucket stops counting, 0 = never.
    local frees_at = limit[4] == 0 and 0 or (bucket + 1 - limit[5]) * limit[4] + limit[8]
    -- Nothing in a name has to be escaped.
    list[i] = '["' .. field_of(limit, bucket) .. '",' .. delta .. ',' .. n(frees_at) .. ']'
  end
  local id = redis.call('XADD', P .. 'entries', '*', 'kind', kind, 'at', NOW, 'job', job or '', 'agent', agent,
    'model', model or '', 'moves', '[' .. table.concat(list, ',') .. ']', 'source', source or '')
  redis.call('XADD', P .. 'entries:' .. agent, id, 'e', '')
end

-- Where the cost of a line comes from: its agent, or its price; nil when it has neither. A report below what was charged
-- at the price changes nothing.
local function source_of(j, line)
  local reported = tonumber(j['cm' .. line])
  if reported and reported == figure(j, 'cost', line) then return 'reported' end
  return j['price' .. line] and 'priced' or nil
end

-- What a job was charged so far, and where that comes from: priced as soon as a part of it is.
local function cost_of(j)
  local cost, source = 0, nil
  for line = 0, tonumber(j.lines) - 1 do
    cost = plus(cost, figure(j, 'cost', line))
    if source ~= 'priced' then source = source_of(j, line) or source end
  end
  return cost, source
end

-- Moves every meter of a line that counts what was used, and warns of limits that cross 80 %.
local function spend(j, line, kind, spent)
  local moves, source = {}, nil
  local limits = limits_of(j, line)
  for _, pair in ipairs(spent) do
    local meter, amount = pair[1], pair[2]
    if amount ~= 0 then
      if meter == 'cost' then source = source_of(j, line) end
      local delta = n(amount)
      for _, limit in ipairs(limits) do
        local cap = limit[2] == meter and cap_of(limit)
        if limit[2] == meter then moves[#moves + 1] = { limit, bucket_of(limit, now), delta } end
        if cap then
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
  book(kind, j.id, j.agent_id, j['model' .. line], moves, source)
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
  j.started_at = NOW
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

-- When the day of an agent was last reset; before all times when it never was.
local function reset_of(agent)
  return tonumber(redis.call('HGET', P .. 'resets', agent)) or -math.huge
end

-- Notes that tokens were charged; charges of one line and day are one, but those from before and after a reset.
local function note_charge(j, line, tokens)
  if tokens == 0 then return end
  local list = charges_of(j)
  local day = math.floor(now / DAY)
  local reset = #list > 0 and reset_of(j.agent_id)
  local same
  for _, charge in ipairs(list) do
    local when = charge[2]
    if tonumber(charge[1]) == line and math.floor(when / DAY) == day and (when <= reset) == (now <= reset) then
      same = charge
    end
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
  return {
    ['in'] = tonumber(take()), out = tonumber(take()), cr = tonumber(maybe()), cw = tonumber(maybe()),
    rs = tonumber(maybe()), cm = tonumber(maybe()), rq = tonumber(maybe())
  }
end

-- What a line costs at its price: each category at its own, one without at that of its total; rounded up once.
local function priced(j, line)
  local prices = {}
  for part in string.gmatch(j['price' .. line] .. ',', '([^,]*),') do prices[#prices + 1] = tonumber(part) or false end
  local input, output, cr, cw, rs = prices[1], prices[2], figure(j, 'cr', line), figure(j, 'cw', line), figure(j, 'rs', line)
  local cost, rest = 0, 0
  for _, part in ipairs({
    { minus(minus(figure(j, 'in', line), cr), cw), input }, { cr, prices[3] or input }, { cw, prices[4] or input },
    { minus(figure(j, 'out', line), rs), output }, { rs, prices[5] or output }
  }) do
    local whole, low = millionth(part[1], part[2])
    cost, rest = plus(cost, whole), rest + low
  end
  return plus(cost, math.ceil(rest / 1000000))
end

-- Charges the growth of one line since its highest report.
local function charge(j, line, figures)
  local before = tokens_of(j, line)
  -- Its start counted one request of the model that it was admitted for.
  local counted = line == 0 and 1 or 0
  local requests = math.max(figure(j, 'rq', line), counted)
  for name, value in pairs(figures) do
    local field = name .. line
    local high = tonumber(j[field])
    if not high or value > high then j[field] = n(value) end
  end
  -- A total is never below its parts.
  local cached, thought = plus(figure(j, 'cr', line), figure(j, 'cw', line)), figure(j, 'rs', line)
  if cached > figure(j, 'in', line) then j['in' .. line] = n(cached) end
  if thought > figure(j, 'out', line) then j['out' .. line] = n(thought) end
  local tokens = minus(tokens_of(j, line), before)
  local known = figure(j, 'cost', line)
  local cost = tonumber(j['cm' .. line])
  if not cost and j['price' .. line] then cost = priced(j, line) end
  local growth = cost and minus(cost, known) or 0
  j['cost' .. line] = n(math.max(known, cost or known))
  requests = math.max(figure(j, 'rq', line), counted) - requests
  if tokens == 0 and growth == 0 and requests == 0 then return end
  if j.state == 'reserved' then mark_started(j) end
  spend(j, line, 'charge', { { 'tokens', tokens }, { 'cost', growth }, { 'requests', requests } })
  if is_open(j) then note_charge(j, line, tokens) else j.late = '1' end
end

-- Whether a refund goes to the day of this scope: of the agent, and of the model.
local function is_refunded(scope)
  return string.match(scope, '^agent:[^ ]*$') ~= nil or string.match(scope, '^model:') ~= nil
end

-- Ends an open job: the refund, and the release of its place.
local function close(j, outcome)
  j.outcome, j.ended_at = outcome, NOW
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
  local reset = back > 0 and reset_of(j.agent_id)
  local refunded = 0
  for i = #list, 1, -1 do
    local line, when, tokens = list[i][1], list[i][2], math.min(list[i][3], back)
    back = back - tokens
    if tokens > 0 then
      -- The agent's day was set to zero with it, and has nothing of it to give back.
      local is_reset = when <= reset
      if not is_reset then refunded = plus(refunded, tokens) end
      local moves = {}
      for _, limit in ipairs(limits_of(j, line)) do
        local own_reset = is_reset and limit[1] == 'agent:' .. j.agent_id
        if limit[3] == 'day' and limit[2] == 'tokens' and is_refunded(limit[1]) and not own_reset then
          -- A day that was folded and counts no more has nothing either; it never stands below zero.
          local bucket = bucket_of(limit, when)
          local delta = math.min(tokens, math.max(stands_at(field_of(limit, bucket)), 0))
          if delta > 0 then moves[#moves + 1] = { limit, bucket, '-' .. n(delta) } end
        end
      end
      book('refund', j.id, j.agent_id, j['model' .. line], moves)
    end
  end
  local cost, source = cost_of(j)
  told(j, 'job_' .. outcome,
    '"tokens":' .. n(gross(j)) .. ',"cost_micros":' .. n(cost) .. ',"refunded_tokens":' .. n(refunded)
      .. (source and ',"cost_source":"' .. source .. '"' or ''))
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
  if not is_live(j) and not j.unadmitted then
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
    limits = take(), ask = take(), expires_at = take(), created = maybe()
  }
end

local function new_job(a)
  return {
    id = a.job, task = a.task, admission = a.id, agent_id = a.agent, project = a.project, ask = a.ask,
    task_created_at = a.created,
    admitted_at = NOW, expires_at = a.expires_at, state = 'reserved', lines = '1',
    model0 = a.model, price0 = a.price, limits0 = a.limits
  }
end

-- Checks an admission: the job to write and the one that stands, or nil and the refusal. `fresh`: the task says that
-- there was no such attempt before, so that a job of that name which is over was an earlier task's with the same id; where the
-- task lives elsewhere, its creation says so.
local function prepare_admission(a, fresh)
  local was = load_job(a.job)
  -- What nobody admitted keeps nobody out: it is charged, and anybody may have reported it.
  if was and not was.unadmitted then
    local lives = is_live(was)
    if lives and was.admission == a.id then return copy(was), was, true end
    local over = was.state == 'started' or was.state == 'settled'
    local other = was.task_created_at and a.created and was.task_created_at ~= a.created
    if lives or (over and not fresh and not other) then return nil, no(nil, nil, was) end
  end
  local j = new_job(a)
  learn_held(scopes(j))
  local full = find_room(limits_in(a.limits), tonumber(a.ask))
  if full then return nil, full end
  return j, was, false
end
