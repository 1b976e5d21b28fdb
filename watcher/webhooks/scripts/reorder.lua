-- Make some of what is due later due now, in the stream's order; what stands behind another, when its turn comes. What
-- is being delivered or was superseded is left alone.
--
-- KEYS 1 due  2 waiting  3 ordered
-- ARGV 1 now (ms)  2 where to begin: a time (ms), with ( before it if that one was done  3 how many, about
-- Returns where to go on; '' at the end

-- Includes order

local due, waiting, ordered = KEYS[1], KEYS[2], KEYS[3]
local now, first, most = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
if not now or not most or not string.match(first or '', '^%(?%d+$') then
  return redis.error_reply('ERR reorder: now, where to begin and a number are needed')
end
local found = redis.call('ZRANGE', waiting, first, '+inf', 'BYSCORE', 'LIMIT', 0, most, 'WITHSCORES')
if #found == 0 then return '' end
-- Whole milliseconds, so that what is delivered meanwhile moves nobody out of sight.
local last = found[#found]
local ids = redis.call('ZRANGE', waiting, first, last, 'BYSCORE')
local in_order = redis.call('EXISTS', ordered) == 1
for _, id in ipairs(ids) do
  local task = in_order and string.match(redis.call('HGET', ordered, id) or '', '^(%S+) ')
  if task then redis.call('HSET', ordered, id, task) end
  redis.call('ZADD', due, 'XX', 'LT', moment(id, now), id)
end
return '(' .. last
