-- Say that a replica lives, and hear which others do. Those whose term has ended are forgotten.
--
-- KEYS 1 replicas: replica → when it joined (ms)  2 terms: replica → when its term ends (ms)
--      3 doing: replica → what it does
-- ARGV 1 replica  2 term (ms)  3 what it does
-- Returns {now (ms), {replica, joined (ms), what it does} …}, the eldest first; the clock is the server's

local replica, term, doing = ARGV[1], tonumber(ARGV[2]), ARGV[3]
if not replica or replica == '' or not term or term < 1 or not doing then
  return redis.error_reply('ERR beat: a replica, its term and what it does are needed')
end

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
for _, dead in ipairs(redis.call('ZRANGE', KEYS[2], '-inf', now, 'BYSCORE', 'LIMIT', 0, 1000)) do
  for i = 1, 2 do redis.call('ZREM', KEYS[i], dead) end
  redis.call('HDEL', KEYS[3], dead)
end
redis.call('ZADD', KEYS[1], 'NX', now, replica)
redis.call('ZADD', KEYS[2], now + term, replica)
redis.call('HSET', KEYS[3], replica, doing)
local answer = { string.format('%.0f', now) }
local found = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for i = 1, #found, 2 do
  answer[#answer + 1] = { found[i], found[i + 1], redis.call('HGET', KEYS[3], found[i]) or '' }
end
return answer
