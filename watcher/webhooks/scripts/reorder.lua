-- Make some of what is due later due now, in the stream's order. What is being delivered, stands behind another or
-- was superseded is left alone.
--
-- KEYS 1 due  2 waiting
-- ARGV 1 now (ms)  2 where to begin: a time (ms), with ( before it if that one was done  3 how many, about
-- Returns how many there were, and where to go on; '' at the end

-- Includes order

local due, waiting = KEYS[1], KEYS[2]
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
  redis.call('ZADD', due, 'XX', 'LT', moment(id, now), id)
end
return { #ids, '(' .. last }
