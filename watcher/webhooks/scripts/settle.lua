#!lua flags=allow-oom
-- Write down what came of claimed deliveries, and what it says of the endpoint's lane.
--
-- `delivered` always holds. The others count only while their claim does: when it has ended, the delivery may
-- be somebody else's already, and what came of it here is `stale`.
--
-- Any answer that is no failure of the endpoint's closes the lane's breaker. Failures in a row open it from
-- `threshold` on: for a random part of a time that doubles with each opening. While it is open, only the probe tells
-- something new: what else fails then was begun before.
--
-- From the first attempt that gave anything but a delivery until the next delivery, the endpoint is failing, even if it
-- answers. What has failed for too long is paused.
--
-- Where an order is kept, the next of a task goes on when the one before it is delivered, dead or superseded.
--
-- KEYS 1 due  2 claimed  3 waiting  4 attempts  5 dead  6 events  7 lane  8 kept  9 line  10 ordered
-- ARGV 1 ids of what was delivered, separated by spaces
--      2 now (ms)  3 failures that count against the endpoint  4 hold the lane until (ms, 0: do not)
--      5 why to pause it, or ''
--      6 threshold  7 first and  8 longest time open (ms)  9 part of it (0 to 1)
--      10 milliseconds of failing after which it is paused  11 whether it has refused any, being at work (1 or 0)
--      12 whether to pass over what is no longer news (1 or 0)
--      then for each other outcome one of
--      'retry', id, token, due time (ms), attempts so far
--      'dead', id, token, reason, number of attempts, last status or '', last answer, failed at, last attempts
--      'release', id, token, due time (ms) to put back
--      'superseded', id, token
-- Returns how many were settled, how many stale, milliseconds for which the breaker opened or 0, why it paused or '',
--         how many others go on

-- Includes parts
-- Includes order

local due, claimed, waiting, attempts = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local dead, events, lane, kept = KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local line, ordered = KEYS[9], KEYS[10]
local sizes = { retry = 5, dead = 9, release = 4, superseded = 3 }
local FIRST = 13

local delivered, pause = ARGV[1], ARGV[5]
if #ARGV < FIRST - 1 then
  return redis.error_reply('ERR settle: nothing to settle')
end
local numbers = {}
for _, place in ipairs({ 2, 3, 4, 6, 7, 8, 9, 10, 11, 12 }) do
  numbers[place] = tonumber(ARGV[place])
  if not numbers[place] then
    return redis.error_reply('ERR settle: not a number: ' .. ARGV[place])
  end
end
local now, failed, hold = numbers[2], numbers[3], numbers[4]
for id in string.gmatch(delivered, '%S+') do
  if not string.match(id, '^%d+%-%d+$') then
    return redis.error_reply('ERR settle: not a stream id: ' .. id)
  end
end
local at = FIRST
while at <= #ARGV do
  local size = sizes[ARGV[at]]
  if not size or at + size - 1 > #ARGV then
    return redis.error_reply('ERR settle: not an outcome: ' .. ARGV[at])
  end
  if not string.match(ARGV[at + 1], '^%d+%-%d+$') then
    return redis.error_reply('ERR settle: not a stream id: ' .. ARGV[at + 1])
  end
  if not tonumber(ARGV[at + 2]) then
    return redis.error_reply('ERR settle: not a token: ' .. ARGV[at + 2])
  end
  if (ARGV[at] == 'retry' or ARGV[at] == 'release') and not tonumber(ARGV[at + 3]) then
    return redis.error_reply('ERR settle: not a due time: ' .. ARGV[at + 3])
  end
  at = at + size
end

local here = redis.call('EXISTS', ordered) == 1 and lines(due, line, ordered, now, numbers[12] == 1)
local going_on = 0

local function forget(ids)
  for _, key in ipairs({ due, claimed, waiting }) do in_parts('ZREM', key, ids) end
  for _, key in ipairs({ attempts, kept }) do in_parts('HDEL', key, ids) end
end

local function remove(id)
  local was_next = here and (redis.call('ZSCORE', due, id) or redis.call('ZSCORE', claimed, id))
  forget({ id })
  if here and here.leave(id, was_next) then going_on = going_on + 1 end
end

local function is_held(id, token)
  local score = redis.call('ZSCORE', claimed, id)
  return score and tonumber(score) == tonumber(token)
end

local function put_back(id, at)
  redis.call('ZREM', claimed, id)
  if not here then
    redis.call('ZADD', due, at, id)
  elseif here.back(id, at) then
    going_on = going_on + 1
  end
end

local named = { entry_id = true, reason = true, attempts = true, status = true, answer = true, failed_at = true,
  history = true, task = true }

local function bury(id, reason, count, status, answer, failed_at, history)
  local letter = { 'entry_id', id, 'reason', reason, 'attempts', count, 'status', status, 'answer', answer,
    'failed_at', failed_at, 'history', history }
  local task = here and here.task(id)
  if task then
    letter[#letter + 1] = 'task' -- of a letter that is to keep its task's order when it is retried
    letter[#letter + 1] = task
  end
  local entry = redis.call('XRANGE', events, id, id)[1]
  local saved = redis.call('HGET', kept, id)
  local fields = entry and entry[2] or (saved and cmsgpack.unpack(saved)) or {}
  for at = 1, #fields, 2 do
    if not named[fields[at]] then
      letter[#letter + 1] = fields[at]
      letter[#letter + 1] = fields[at + 1]
    end
  end
  redis.call('XADD', dead, '*', unpack(letter))
end

local open = redis.call('HGET', lane, 'open')
local is_open, probed = open and tonumber(open) > now, false

local settled, stale = 0, 0
local gone = {}
for id in string.gmatch(delivered, '%S+') do
  if here then remove(id) else gone[#gone + 1] = id end
  settled = settled + 1
end
forget(gone)
at = FIRST
while at <= #ARGV do
  local verdict, id, token = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  if not is_held(id, token) then
    stale = stale + 1
  else
    if verdict == 'retry' then
      put_back(id, ARGV[at + 3])
      redis.call('HSET', attempts, id, ARGV[at + 4])
    elseif verdict == 'dead' then
      bury(id, unpack(ARGV, at + 3, at + 8))
      remove(id)
    elseif verdict == 'superseded' then
      remove(id)
    else
      put_back(id, ARGV[at + 3])
    end
    probed = probed or (open == token and verdict ~= 'superseded')
    settled = settled + 1
  end
  at = at + sizes[verdict]
end

local opened = 0
local refused = numbers[11] == 1
if delivered ~= '' then redis.call('HDEL', lane, 'failing_since') end
if delivered ~= '' or refused then
  redis.call('HDEL', lane, 'failures', 'openings', 'open')
  is_open = false
end
if failed > 0 then
  local failures = redis.call('HINCRBY', lane, 'failures', failed)
  if failures >= numbers[6] and (probed or not is_open) then
    local openings = redis.call('HINCRBY', lane, 'openings', 1)
    opened = math.ceil(numbers[9] * math.min(numbers[8], numbers[7] * 2 ^ math.min(openings - 1, 30)))
    redis.call('HSET', lane, 'open', string.format('%.0f', now + opened))
  end
elseif probed then
  redis.call('HDEL', lane, 'open') -- it told nothing; the next one may
end
if failed > 0 or refused then
  redis.call('HSETNX', lane, 'failing_since', ARGV[2])
  if now - tonumber(redis.call('HGET', lane, 'failing_since')) >= numbers[10] then pause = 'failing' end
end
if hold > tonumber(redis.call('HGET', lane, 'hold') or 0) then redis.call('HSET', lane, 'hold', ARGV[4]) end
if pause ~= '' and redis.call('HSETNX', lane, 'paused', pause) == 1 then
  redis.call('HSET', lane, 'paused_at', ARGV[2])
else
  pause = ''
end
return { settled, stale, opened, pause, going_on }
