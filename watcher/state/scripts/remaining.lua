--[[
Purpose  Say how many requests could start at this moment. The clock is the server's.
KEYS     1 starts: request → when it started, 2 pause
ARGV     1 limit, 2 window (microseconds)
Returns  a number of requests, 0 in a pause
Effects  none
]]
local limit, window = tonumber(ARGV[1]), tonumber(ARGV[2])
if limit == nil or window == nil then error('remaining: a limit and a window are needed') end
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
return math.max(0, limit - redis.call('ZCOUNT', KEYS[1], string.format('(%.0f', now - window), '+inf'))
