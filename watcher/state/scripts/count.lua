--[[
Purpose  Count a request as started now, whether the budget allows it or not: it has been sent later than it was
         counted. What starts after it keeps its distance from now on. The clock is the server's.
KEYS     1 starts: request → when it started
ARGV     1 window (microseconds), 2 the request's own name
Returns  nothing
Effects  ZADD, PEXPIRE
]]
local window, request = tonumber(ARGV[1]), ARGV[2]
if window == nil or request == nil then error('count: a window and a name are needed') end
local time = redis.call('TIME')
redis.call('ZADD', KEYS[1], time[1] * 1000000 + time[2], request)
redis.call('PEXPIRE', KEYS[1], math.ceil(window / 1000) + 1)
