-- What every script begins with: its keys, its arguments, and rows.
-- KEYS[1] is what all keys of the fleet begin with; ARGV[1] is the time of the caller in milliseconds.
-- Only what a script names of these pieces, and what that names, is put in front of it: making a function costs each call
-- something. So what stands here at the margin is a function or a value whose making does nothing else.
local P = KEYS[1]
local NOW = ARGV[1]
local now = tonumber(NOW)
local at = 1

-- The next argument.
local function take()
  at = at + 1
  return ARGV[at]
end

-- The next argument, where an empty one is an absent one: ids and numbers.
local function maybe()
  local value = take()
  return value ~= '' and value or nil
end

-- The next argument, a text that may be empty: '=' stands before one that is there.
local function text()
  local value = take()
  return value ~= '' and string.sub(value, 2) or nil
end

-- A whole number as text; Lua's own way has 14 digits only.
local function n(x)
  return string.format('%d', x)
end

-- A text as JSON.
local function q(s)
  return cjson.encode(s)
end

-- A hash as a table, nil when there is none.
local function read(key)
  local list = redis.call('HGETALL', key)
  if #list == 0 then return nil end
  local row = {}
  for i = 1, #list, 2 do row[list[i]] = list[i + 1] end
  return row
end

local function copy(row)
  local same = {}
  for k, v in pairs(row) do same[k] = v end
  return same
end

-- Runs a command with a list of arguments of any length, some at a time.
local function chunked(command, key, list)
  for from = 1, #list, 100 do
    redis.call(command, key, unpack(list, from, math.min(from + 99, #list)))
  end
end

-- Writes what differs from the hash as it was.
local function write(key, row, was)
  local sets, gone = {}, {}
  for k, v in pairs(row) do
    if not was or was[k] ~= v then
      sets[#sets + 1] = k
      sets[#sets + 1] = v
    end
  end
  if was then
    for k in pairs(was) do
      if row[k] == nil then gone[#gone + 1] = k end
    end
  end
  chunked('HSET', key, sets)
  chunked('HDEL', key, gone)
end

-- What is written at the end of the step, once, by functions that are named as there is something to write.
local at_end = {}

local function later(write_it)
  if not at_end[write_it] then
    at_end[write_it] = true
    at_end[#at_end + 1] = write_it
  end
end

-- Runs a script, and answers the caller.
local function run(step)
  local answer = step()
  for _, write_it in ipairs(at_end) do write_it() end
  return answer
end

-- A table as a list for the answer.
local function flat(row)
  local list = {}
  for k, v in pairs(row or {}) do
    list[#list + 1] = k
    list[#list + 1] = v
  end
  return list
end

-- A refusal: the rows that it was decided on, from which the caller derives the error as core words it.
local function no(task, attempt, job, agent)
  return { 'no', flat(task), flat(attempt), flat(job), agent or '' }
end
