--[[
Purpose  Let a request start now if the budget allows it, or say when to ask again. At most `limit` requests
         start in any window. Of those who must wait, the one who has waited longest goes first; who does not
         come within `patience` of its turn loses its place. The clock is the server's.
KEYS     1 starts: request → when it started, 2 line: process → when its turn comes, 3 pause
ARGV     1 limit, 2 window, 3 patience (microseconds), 4 the process that asks,
         5 its request's number: the same again if the last answer was not acted upon
Returns  0: it may start, and counts as started now; or microseconds after which to ask again
Effects  ZREM, ZREMRANGEBYSCORE, ZADD, PEXPIRE; all three keys expire once nothing depends on them
]]
local starts, line, pause = KEYS[1], KEYS[2], KEYS[3]
local limit, window, patience = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
if #KEYS ~= 3 or #ARGV ~= 5 or limit == nil or window == nil or patience == nil or limit < 1 then
  error('budget: three keys, a limit, a window, a patience, a process and a number are needed')
end
local process, request = ARGV[4], ARGV[4] .. '/' .. ARGV[5]
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

-- What started in the future tells that the clock was set back: count it as started now, and line up anew.
for _, early in ipairs(redis.call('ZRANGE', starts, string.format('(%.0f', now), '+inf', 'BYSCORE')) do
  redis.call('ZADD', starts, now, early)
  redis.call('DEL', line)
end

-- One that was let start and did not comes again before all others: its place in line is gone.
local again = redis.call('ZREM', starts, request) == 1
redis.call('ZREMRANGEBYSCORE', starts, '-inf', now - window)
redis.call('ZREMRANGEBYSCORE', line, '-inf', now - patience)
local started = redis.call('ZCARD', starts)
local ahead = again and 0 or redis.call('ZRANK', line, process) or redis.call('ZCARD', line)
local paused = math.max(redis.call('PTTL', pause), 0) * 1000

if paused == 0 and started + ahead < limit then
  redis.call('ZREM', line, process)
  redis.call('ZADD', starts, now, request)
  redis.call('PEXPIRE', starts, math.ceil(window / 1000) + 1)
  return 0
end

-- It starts a window after the one that lies `limit` starts before it, and that one likewise if it is yet to come.
local before, windows = started + ahead, 0
while before >= started and before >= limit do before, windows = before - limit, windows + 1 end
local start = before < started and redis.call('ZRANGE', starts, before, before, 'WITHSCORES')[2] or now
local turn = math.max(now + paused, start + windows * window)
redis.call('ZADD', line, 'NX', turn, process)
local lasting = math.ceil((turn + patience - now) / 1000)
if redis.call('PTTL', line) < lasting then redis.call('PEXPIRE', line, lasting) end
return math.min(turn - now, patience) -- not later, because those ahead may have gone
