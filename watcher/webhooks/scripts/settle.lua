#!lua flags=allow-oom
-- Write down what came of claimed deliveries.
--
-- `delivered` always holds. The others count only while their claim does: when it has ended, the delivery may
-- be somebody else's already, and what came of it here is `stale`.
--
-- KEYS 1 due  2 waiting  3 attempts  4 dead  5 events
-- ARGV 1 ids of what was delivered, separated by spaces
--      then for each other outcome one of
--      'retry', id, token, due time (ms), attempts so far
--      'dead', id, token, reason, number of attempts, last status or '', last answer, failed at
--      'release', id, token, due time (ms) to put back
-- Returns how many were settled, how many stale

local due, waiting, attempts, dead, events = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local sizes = { retry = 5, dead = 8, release = 4 }

local delivered = ARGV[1]
if not delivered then
  return redis.error_reply('ERR settle: nothing to settle')
end
for id in string.gmatch(delivered, '%S+') do
  if not string.match(id, '^%d+%-%d+$') then
    return redis.error_reply('ERR settle: not a stream id: ' .. id)
  end
end
local at = 2
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
  if ARGV[at] ~= 'dead' and not tonumber(ARGV[at + 3]) then
    return redis.error_reply('ERR settle: not a due time: ' .. ARGV[at + 3])
  end
  at = at + size
end

local function remove(id)
  redis.call('ZREM', due, id)
  redis.call('ZREM', waiting, id)
  redis.call('HDEL', attempts, id)
end

local function is_held(id, token)
  local score = redis.call('ZSCORE', due, id)
  return score and tonumber(score) == tonumber(token)
end

local function bury(id, reason, count, status, answer, failed_at)
  local letter = { 'entry_id', id, 'reason', reason, 'attempts', count, 'status', status, 'answer', answer,
    'failed_at', failed_at }
  local entry = redis.call('XRANGE', events, id, id)[1]
  if entry then
    for _, part in ipairs(entry[2]) do letter[#letter + 1] = part end
  end
  redis.call('XADD', dead, '*', unpack(letter))
end

local settled, stale = 0, 0
for id in string.gmatch(delivered, '%S+') do
  remove(id)
  settled = settled + 1
end
at = 2
while at <= #ARGV do
  local verdict, id, token = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  if not is_held(id, token) then
    stale = stale + 1
  else
    if verdict == 'retry' then
      redis.call('ZADD', due, 'XX', ARGV[at + 3], id)
      redis.call('HSET', attempts, id, ARGV[at + 4])
    elseif verdict == 'dead' then
      bury(id, unpack(ARGV, at + 3, at + 7))
      remove(id)
    else
      redis.call('ZADD', due, 'XX', ARGV[at + 3], id)
    end
    settled = settled + 1
  end
  at = at + sizes[verdict]
end
return { settled, stale }
