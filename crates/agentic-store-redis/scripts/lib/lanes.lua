-- Parked lanes.

-- The name of a lane as text that sorts as lanes do: by labels, model, project.
local function in_order(lane)
  return (string.gsub(string.gsub(lane, ',', '\2'), '|', '\1'))
end

local function unpark_lane(lane, park)
  redis.call('HDEL', P .. 'parks', lane)
  redis.call('ZREM', P .. 'parked', in_order(lane))
  local scope = string.match(park, '^[^\n]*')
  if scope ~= '' then redis.call('ZREM', P .. 'parked:' .. scope, in_order(lane)) end
end

-- Whether something was woken since a caller read the number of wake-ups; one that read none sees everything.
local function is_stale(seen)
  return seen ~= nil and tonumber(redis.call('GET', P .. 'wake') or '0') > tonumber(seen)
end

-- Wakes the lanes that are meant, and counts the wake-up; answers how many were woken.
local function wake(kind, name, limit)
  local lanes = {}
  if limit > 0 then
    if kind == 'lane' then
      lanes[1] = in_order(name)
    else
      lanes = redis.call('ZRANGE', P .. (kind == 'scope' and 'parked:' .. name or 'parked'), 0, limit - 1)
    end
  end
  local woken = 0
  for _, order in ipairs(lanes) do
    local lane = string.gsub(string.gsub(order, '\2', ','), '\1', '|')
    local park = redis.call('HGET', P .. 'parks', lane)
    if park then
      unpark_lane(lane, park)
      woken = woken + 1
    end
  end
  redis.call('INCR', P .. 'wake')
  return woken
end
