#!lua flags=allow-oom
-- Take tokens of an endpoint's bucket, which all replicas and all shards share; or put some back.
--
-- KEYS 1 bucket: how many `tokens` it holds, and `at` which moment (ms) it did
-- ARGV 1 now (ms)  2 tokens a second  3 tokens it holds at most  4 most to take (below 0: to put back)
-- Effects: the bucket is forgotten once it would be full, which is what one that is not there counts as.
-- Returns {tokens taken, when there will be one (ms), or '' where some were taken or put back}

local now, rate, capacity, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
if not now or not rate or not capacity or not most or rate <= 0 or capacity < 1 then
  return redis.error_reply('ERR take: now, a rate, a capacity and a number are needed')
end

-- Replicas' clocks differ a little, and one that is behind must not give out again what was taken already. A moment
-- further ahead was told by a clock that was wrong: were it believed, nobody would get anything before it has come.
local TRUSTED = 60000

local bucket = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local before = tonumber(bucket[2] or now)
local wrong = before > now + TRUSTED
if wrong then before = now end
local at = math.max(now, before)
local tokens = math.min(capacity, tonumber(bucket[1] or capacity) + (at - before) * rate / 1000)
-- A hair's breadth below a whole token is rounding, and waiting for it would be waiting for nothing.
local taken = math.min(most, math.floor(tokens + 1e-6))
local none = taken == 0 and most > 0
if not none or wrong then
  local left = string.format('%.9f', math.min(capacity, tokens - taken))
  redis.call('HSET', KEYS[1], 'tokens', left, 'at', string.format('%.0f', at))
  -- The server counts by a clock of its own, so an hour more; no rate is so low that a century does not do.
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.min(3600000 + capacity * 1000 / rate, 3e12)))
end
if none then
  return { 0, string.format('%.0f', math.ceil(at + (1 - tokens) * 1000 / rate)) }
end
return { taken, '' }
