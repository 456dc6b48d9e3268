-- Agents: one JSON text each. What changes stands in front, in this order, so that it can be read without decoding.
local RECORD = '^{"incarnation":(%d+),"status":"(%a+)","draining":(%a+),"deregistered":(%a+),' ..
  '"last_heartbeat":"([^"]*)","heard":(%-?%d+),"registered_at":"([^"]*)",(.*)$'

local function load_agent(id)
  local json = redis.call('GET', P .. 'agent:' .. id)
  if not json then return nil end
  local incarnation, status, draining, deregistered, last, heard, registered, rest = string.match(json, RECORD)
  return {
    json = json, incarnation = incarnation, status = status, draining = draining == 'true',
    deregistered = deregistered == 'true', last_heartbeat = last, heard = heard, registered_at = registered, rest = rest
  }
end

-- Reads an agent that is registered.
local function registered(id)
  local a = load_agent(id)
  if a and not a.deregistered then return a end
end

-- Writes an agent; answers with its JSON.
local function put_agent(id, a)
  local json = string.format(
    '{"incarnation":%s,"status":"%s","draining":%s,"deregistered":%s,"last_heartbeat":"%s","heard":%s,"registered_at":"%s",',
    a.incarnation, a.status, tostring(a.draining), tostring(a.deregistered), a.last_heartbeat, a.heard, a.registered_at
  ) .. a.rest
  redis.call('SET', P .. 'agent:' .. id, json)
  if a.deregistered or a.status == 'offline' then
    redis.call('ZREM', P .. 'heard', id)
  else
    redis.call('ZADD', P .. 'heard', a.heard, id)
  end
  return json
end

-- Notes that an agent lives; answers its JSON, or nothing and a refusal. A record that cannot be read is its own trouble.
local function hear(id, incarnation, time, stamp, ttl)
  local a = registered(id)
  if not a then return nil, { 'nf' } end
  if not a.incarnation or incarnation and incarnation ~= a.incarnation then return nil, no(nil, nil, nil, a.json) end
  local was_offline = a.status == 'offline'
  a.status = 'available'
  if tonumber(time) > tonumber(a.heard) then
    a.heard = time
    a.last_heartbeat = stamp
  end
  local json = put_agent(id, a)
  redis.call('SET', P .. 'alive:' .. id, a.incarnation, 'PX', ttl)
  if was_offline then append('agent_online', '', id, time, '') end
  return json
end
