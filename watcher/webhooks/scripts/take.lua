#!lua flags=allow-oom
-- Take tokens of an endpoint's bucket, which all replicas and all shards share; or put some back.
--
-- KEYS 1 bucket: how many `tokens` it holds, and `at` which moment (ms) it did
-- ARGV 1 now (ms)  2 tokens a second  3 tokens it holds at most  4 most to take (below 0: to put back)
-- Returns {tokens taken, when there will be one (ms), or '' where some were taken or put back}

local now, rate, capacity, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
if not now or not rate or not capacity or not most or rate <= 0 or capacity < 1 then
  return redis.error_reply('ERR take: now, a rate, a capacity and a number are needed')
end

local bucket = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local at = math.max(now, tonumber(bucket[2] or now))
local passed = at - tonumber(bucket[2] or at)
local tokens = math.min(capacity, tonumber(bucket[1] or capacity) + passed * rate / 1000)
-- A hair's breadth below a whole token is rounding, and waiting for it would be waiting for nothing.
local taken = math.min(most, math.floor(tokens + 1e-6))
if taken == 0 and most > 0 then
  return { 0, string.format('%.0f', math.ceil(at + (1 - tokens) * 1000 / rate)) }
end
redis.call('HSET', KEYS[1], 'tokens', string.format('%.9f', math.min(capacity, tokens - taken)), 'at', string.format('%.0f', at))
redis.call('PEXPIRE', KEYS[1], 3600000)
return { taken, '' }
