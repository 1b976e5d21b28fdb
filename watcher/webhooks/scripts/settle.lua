#!lua flags=allow-oom
-- Write down what came of claimed deliveries, and what it says of the endpoint's lane.
--
-- What was delivered holds as long as it waits, unless somebody has asked since it was claimed to have it again: that
-- is another delivery, and this step may have been done before. The others count only while their claim does: when it
-- has ended, the delivery may be somebody else's already, and what came of it here is `stale`. What is stale says
-- nothing of the endpoint either: a step that is done twice counts nothing twice.
--
-- Any answer that is no failure of the endpoint's closes the lane's breaker. Failures in a row, in the order in which
-- the attempts ended, open it from `threshold` on: for a random part of a time that doubles with each opening. While it
-- is open, only the probe tells something new: what else fails then was begun before.
--
-- From the first attempt that gave anything but a delivery until the next delivery, the endpoint is failing, even if it
-- answers. What has failed for too long is paused.
--
-- What is busy is held for half to all of a time that doubles until the next delivery; what is answered while it is
-- held was begun before, and tells nothing new.
--
-- Where an order is kept, the next of a task goes on when the one before it is delivered, dead or superseded.
--
-- KEYS 1 due  2 claimed  3 waiting  4 attempts  5 dead  6 events  7 lane  8 kept  9 line  10 ordered
-- ARGV 1 ids of what was delivered, separated by spaces, in the order in which the attempts ended, as far as nobody had
--        asked to have it again
--      2 now (ms)  3 threshold  4 first and  5 longest time open (ms)  6 part of it (0 to 1)
--      7 milliseconds of failing after which it is paused  8 whether to pass over what is no longer news (1 or 0)
--      9 first time held for being busy (ms); the longest is that of being open
--      then for each other outcome, in that order too, one of
--      'retry', id, token, place, effect, hold, due time (ms), attempts so far
--      'dead', id, token, place, effect, hold, reason, number of attempts, last status or '', last answer, failed at,
--        last attempts
--      'delivered', id, token, place, when somebody had asked to have it again (ms)
--      'release', id, token, place, due time (ms) to put back
--      'superseded', id, token, place
--      where place is how many of what was delivered came before it, effect what it says of the endpoint ('none',
--      'refused': it is at work, 'failed', 'busy': failed, too, 'gone': it wants no more) and hold until when to hold
--      the lane (ms, 0: do not)
-- Returns how many were settled, how many stale, milliseconds for which the breaker opened or 0, why it paused or '',
--         how many others go on, 1 if the lane is held for longer than it was or 0

-- Includes parts
-- Includes order

local due, claimed, waiting, attempts = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local dead, events, lane, kept = KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local line, ordered = KEYS[9], KEYS[10]
local sizes = { delivered = 5, retry = 8, dead = 12, release = 5, superseded = 4 }
local effects = { none = true, refused = true, failed = true, busy = true, gone = true }
local FIRST = 10

if #ARGV < FIRST - 1 then
  return redis.error_reply('ERR settle: nothing to settle')
end
local numbers = {}
for place = 2, 9 do
  numbers[place] = tonumber(ARGV[place])
  if not numbers[place] then
    return redis.error_reply('ERR settle: not a number: ' .. ARGV[place])
  end
end
local now, threshold, first, longest, part, patience = unpack(numbers, 2, 7)
local delivered = {}
for id in string.gmatch(ARGV[1], '%S+') do
  if not string.match(id, '^%d+%-%d+$') then
    return redis.error_reply('ERR settle: not a stream id: ' .. id)
  end
  delivered[#delivered + 1] = id
end
local at, place, outcomes = FIRST, 0, 0
while at <= #ARGV do
  local verdict = ARGV[at]
  local size = sizes[verdict]
  if not size or at + size - 1 > #ARGV then
    return redis.error_reply('ERR settle: not an outcome: ' .. verdict)
  end
  if not string.match(ARGV[at + 1], '^%d+%-%d+$') then
    return redis.error_reply('ERR settle: not a stream id: ' .. ARGV[at + 1])
  end
  if not tonumber(ARGV[at + 2]) then
    return redis.error_reply('ERR settle: not a token: ' .. ARGV[at + 2])
  end
  local before = place
  place = tonumber(ARGV[at + 3])
  if not place or place < before or place > #delivered then
    return redis.error_reply('ERR settle: not its place: ' .. ARGV[at + 3])
  end
  if verdict == 'retry' or verdict == 'dead' then
    if not effects[ARGV[at + 4]] or not tonumber(ARGV[at + 5]) then
      return redis.error_reply('ERR settle: not an effect: ' .. ARGV[at + 4] .. ' ' .. ARGV[at + 5])
    end
    if verdict == 'retry' and not tonumber(ARGV[at + 6]) then
      return redis.error_reply('ERR settle: not a due time: ' .. ARGV[at + 6])
    end
  elseif (verdict == 'release' or verdict == 'delivered') and not tonumber(ARGV[at + 4]) then
    return redis.error_reply('ERR settle: not a time: ' .. ARGV[at + 4])
  end
  at, outcomes = at + size, outcomes + 1
end

local here = redis.call('EXISTS', ordered) == 1 and lines(due, line, ordered, now, numbers[8] == 1)
local settled, going_on = 0, 0

-- When somebody asked to have it again, by what its attempts gave. Within a text of that the second quote would be
-- escaped.
local function asked(record)
  return tonumber(record and string.match(record, '"asked":(%d+)') or 0)
end

-- How many of them waited.
local function forget(ids)
  for _, key in ipairs({ due, claimed }) do in_parts('ZREM', key, ids) end
  for _, key in ipairs({ attempts, kept }) do in_parts('HDEL', key, ids) end
  return in_parts('ZREM', waiting, ids)
end

local function remove(id)
  local was_next = here and (redis.call('ZSCORE', due, id) or redis.call('ZSCORE', claimed, id))
  local waited = forget({ id })
  if here and here.leave(id, was_next) then going_on = going_on + 1 end
  return waited
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

-- What comes of the lane. Where everything was delivered it does not matter how that stood.
local names, was = { 'failures', 'openings', 'open', 'failing_since', 'hold', 'slowed' }, {}
local found = #ARGV >= FIRST and redis.call('HMGET', lane, unpack(names)) or {}
for i, name in ipairs(names) do was[name] = tonumber(found[i] or 0) end
local failures, openings, open_until, hold = was.failures, was.openings, was.open, was.hold
local failing_since, slowed, opened, pause, told = was.failing_since, was.slowed, 0, '', false

local function close()
  failures, openings, open_until, opened = 0, 0, 0, 0
end

local function tell(effect, until_then, is_probe)
  told = true
  if effect == 'none' then
    if is_probe then open_until = 0 end -- it told nothing; the next one may
    return
  end
  if effect == 'gone' then
    if pause == '' then pause = 'http_410' end
    if is_probe then open_until = 0 end
    return
  end
  if effect == 'refused' then
    close()
  else
    failures = failures + 1
    if failures >= threshold and (is_probe or open_until <= now) then
      openings = openings + 1
      opened = math.ceil(part * math.min(longest, first * 2 ^ math.min(openings - 1, 30)))
      open_until = now + opened
    end
  end
  if effect == 'busy' and hold <= now then
    slowed = slowed + 1
    hold = now + math.ceil((1 + part) / 2 * math.min(longest, numbers[9] * 2 ^ math.min(slowed - 1, 30)))
  end
  if failing_since == 0 then failing_since = now end
  if pause == '' and now - failing_since >= patience then pause = 'failing' end
  hold = math.max(hold, until_then)
end

local function take(ids)
  local removed = 0
  if here then
    for _, id in ipairs(ids) do removed = removed + remove(id) end
  else
    removed = forget(ids)
  end
  settled = settled + removed
  if removed > 0 then
    close()
    failing_since, slowed, told = 0, 0, true
    redis.call('HSET', lane, 'delivered_at', ARGV[2])
  end
end

local done = 0
local function deliver(last)
  if done == last then return end
  local ids, meant = delivered, {}
  if done > 0 or last < #delivered then ids = { unpack(delivered, done + 1, last) } end
  done = last
  if redis.call('EXISTS', attempts) == 0 then
    meant = ids
  else
    for i, record in ipairs(redis.call('HMGET', attempts, unpack(ids))) do
      if asked(record) == 0 then meant[#meant + 1] = ids[i] end
    end
  end
  take(meant)
end

at = FIRST
while at <= #ARGV do
  local verdict, id, token = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  deliver(tonumber(ARGV[at + 3]))
  if verdict == 'delivered' then
    local since = asked(redis.call('HGET', attempts, id))
    if since == 0 or since == tonumber(ARGV[at + 4]) then take({ id }) end
  elseif is_held(id, token) then
    local is_probe = tonumber(token) == open_until
    if verdict == 'retry' then
      put_back(id, ARGV[at + 6])
      redis.call('HSET', attempts, id, ARGV[at + 7])
      tell(ARGV[at + 4], tonumber(ARGV[at + 5]), is_probe)
    elseif verdict == 'dead' then
      bury(id, unpack(ARGV, at + 6, at + 11))
      remove(id)
      tell(ARGV[at + 4], tonumber(ARGV[at + 5]), is_probe)
    elseif verdict == 'superseded' then
      remove(id)
    else
      put_back(id, ARGV[at + 4])
      if is_probe then tell('none', 0, true) end
    end
    settled = settled + 1
  end
  at = at + sizes[verdict]
end
deliver(#delivered)
local stale = outcomes + #delivered - settled

if told then
  local fields = { failures = failures, openings = openings, open = open_until, failing_since = failing_since,
    hold = hold, slowed = slowed }
  local new, old = {}, {}
  if #ARGV < FIRST then fields.hold = nil end
  for field, value in pairs(fields) do
    if value > 0 then
      new[#new + 1], new[#new + 2] = field, string.format('%.0f', value)
    else
      old[#old + 1] = field
    end
  end
  if #new > 0 then redis.call('HSET', lane, unpack(new)) end
  if #old > 0 then redis.call('HDEL', lane, unpack(old)) end
end
if pause ~= '' and redis.call('HSETNX', lane, 'paused', pause) == 1 then
  redis.call('HSET', lane, 'paused_at', ARGV[2])
else
  pause = ''
end
return { settled, stale, opened, pause, going_on, hold > was.hold and 1 or 0 }
