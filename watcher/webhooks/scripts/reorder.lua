-- Make some of what waits due now, in the stream's order; what is being delivered is left alone.
--
-- KEYS 1 due  2 claimed  3 waiting
-- ARGV 1 now (ms)  2 rank of the first and  3 of the last, among what waits
-- Returns how many there were

local due, claimed, waiting = KEYS[1], KEYS[2], KEYS[3]
local now, first, last = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
if not now or not first or not last then
  return redis.error_reply('ERR reorder: now and two ranks are needed')
end
local ids = redis.call('ZRANGE', waiting, first, last)
for _, id in ipairs(ids) do
  if not redis.call('ZSCORE', claimed, id) then
    local ms, seq = string.match(id, '^(%d+)%-(%d+)$')
    redis.call('ZADD', due, math.min(tonumber(ms), now) + math.min(tonumber(seq), 4095) / 4096, id)
  end
end
return #ids
