#!lua flags=allow-oom
-- Heed what an endpoint told another shard's lane: hold this one as long, and pause it. The later hold wins, and what
-- is paused stays as it is; what was resumed since is paused no more. Where something was delivered since the endpoint
-- began to fail there, it is no failing here.
--
-- KEYS 1 lane
-- ARGV 1 hold the lane until (ms, 0: do not)  2 why to pause it, or ''  3 since when it is paused (ms)
--      4 since when the endpoint fails (ms, 0: it does not)  5 the hash tag of the shard to which it was told
-- Returns 1 if it is paused now and was not, else 0

local lane, reason, tag = KEYS[1], ARGV[2], ARGV[5]
local hold, since, failing_since = tonumber(ARGV[1]), tonumber(ARGV[3]), tonumber(ARGV[4])
if not hold or not reason or not since or not failing_since or not tag then
  return redis.error_reply('ERR heed: until when, why, since when, since when it fails and a tag are needed')
end

local here = redis.call('HMGET', lane, 'hold', 'delivered_at', 'resumed_at')
if hold > tonumber(here[1] or 0) then redis.call('HSET', lane, 'hold', ARGV[1]) end
if reason == '' or since < tonumber(here[3] or 0) then return 0 end
if reason == 'failing' and tonumber(here[2] or 0) > failing_since then return 0 end
if redis.call('HSETNX', lane, 'paused', reason) == 0 then return 0 end
redis.call('HSET', lane, 'paused_at', ARGV[3], 'paused_by', tag)
return 1
