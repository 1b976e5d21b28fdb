-- Have events delivered to an endpoint again; what waits for it already, on the stream where it lags, is left as it is,
-- and what was trimmed off the stream since it was read is gone.
--
-- KEYS 1 due  2 waiting  3 attempts  4 endpoints  5 line  6 ordered  7 events  8 lagging
-- ARGV 1 now (ms)  2 the endpoint's name  3 what its attempts gave so far: none, and that it is a repeat
--      4 whether to pass over what is no longer news (1 or 0)
--      5… stream ids; then, where the endpoint keeps an order, `=` and the task
-- Returns how many are delivered again

-- Includes order
-- Includes lag

local due, waiting, attempts, endpoints = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local now, name, record = tonumber(ARGV[1]), ARGV[2], ARGV[3]
if not now or not name or not record or (ARGV[4] ~= '0' and ARGV[4] ~= '1') then
  return redis.error_reply('ERR redeliver: now, a name, a record and whether to pass over are needed')
end
for i = 5, #ARGV do
  if not string.match(ARGV[i], '^%d+%-%d+$') and not string.match(ARGV[i], '^%d+%-%d+=[^%s>]%S*$') then
    return redis.error_reply('ERR redeliver: not a stream id: ' .. ARGV[i])
  end
end

local oldest = redis.call('XRANGE', KEYS[7], '-', '+', 'COUNT', 1)[1]
local after = lag_of(KEYS[8], name)

-- Neither gone nor left on the stream for now.
local function is_there(id)
  if not oldest or later(oldest[1], id) then return false end
  return not after or not later(id, after)
end

local here = lines(due, KEYS[5], KEYS[6], now, ARGV[4] == '1')
local added = 0
for i = 5, #ARGV do
  local id, task = string.match(ARGV[i], '^(%d+%-%d+)=?(.*)$')
  if is_there(id) and redis.call('ZADD', waiting, 'NX', string.match(id, '^%d+'), id) == 1 then
    if task ~= '' then
      here.enter(id, task, moment(id, now))
    else
      redis.call('ZADD', due, moment(id, now), id)
    end
    redis.call('HSET', attempts, id, record)
    added = added + 1
  end
end
if added > 0 then redis.call('SADD', endpoints, name) end
return added
