-- Have events delivered to an endpoint again; what waits for it already is left as it is.
--
-- KEYS 1 due  2 waiting  3 attempts  4 endpoints
-- ARGV 1 now (ms)  2 the endpoint's name  3 what its attempts gave so far: none, and that it is a repeat
--      4… stream ids
-- Returns how many are delivered again

local due, waiting, attempts, endpoints = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local now, name, record = tonumber(ARGV[1]), ARGV[2], ARGV[3]
if not now or not name or not record then
  return redis.error_reply('ERR redeliver: now, a name and a record are needed')
end
for i = 4, #ARGV do
  if not string.match(ARGV[i], '^%d+%-%d+$') then
    return redis.error_reply('ERR redeliver: not a stream id: ' .. ARGV[i])
  end
end

local added = 0
for i = 4, #ARGV do
  local id = ARGV[i]
  local ms, seq = string.match(id, '^(%d+)%-(%d+)$')
  if redis.call('ZADD', waiting, 'NX', ms, id) == 1 then
    redis.call('ZADD', due, math.min(tonumber(ms), now) + math.min(tonumber(seq), 4095) / 4096, id)
    redis.call('HSET', attempts, id, record)
    added = added + 1
  end
end
if added > 0 then redis.call('SADD', endpoints, name) end
return added
