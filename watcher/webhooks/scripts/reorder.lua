-- Make some of what waits due now, in the stream's order; what is being delivered is left alone.
--
-- KEYS 1 due  2 claimed  3 waiting
-- ARGV 1 now (ms)  2 where to begin: a time (ms), with ( before it if that one was done  3 how many, about
-- Returns how many there were, and where to go on; '' at the end

local due, claimed, waiting = KEYS[1], KEYS[2], KEYS[3]
local now, first, most = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
if not now or not most or not string.match(first or '', '^%(?%d+$') then
  return redis.error_reply('ERR reorder: now, where to begin and a number are needed')
end
local found = redis.call('ZRANGE', waiting, first, '+inf', 'BYSCORE', 'LIMIT', 0, most, 'WITHSCORES')
if #found == 0 then return { 0, '' } end
-- Whole milliseconds, so that what is delivered meanwhile moves nobody out of sight.
local last = found[#found]
local ids = redis.call('ZRANGE', waiting, first, last, 'BYSCORE')
for _, id in ipairs(ids) do
  if not redis.call('ZSCORE', claimed, id) then
    local ms, seq = string.match(id, '^(%d+)%-(%d+)$')
    redis.call('ZADD', due, math.min(tonumber(ms), now) + math.min(tonumber(seq), 4095) / 4096, id)
  end
end
return { #ids, '(' .. last }
