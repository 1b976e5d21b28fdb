--[[
Purpose  Let a request start now if the budget allows it, or say when to ask again. At most `limit` requests
         start in any window. Those that must wait stand in line; one that does not ask again within
         `patience` of the moment it was told loses its place. The clock is the server's.
KEYS     1 starts: request → when it started, 2 line: request → when it first asked,
         3 due: request in line → by when it must have asked again, 4 pause
ARGV     1 limit, 2 window, 3 patience (microseconds), 4 the request's own name
Returns  0: it may start, and counts as started now; or microseconds after which to ask again
Effects  ZREM, ZREMRANGEBYSCORE, ZADD, DEL, PEXPIRE; every key expires once nothing depends on it
]]
local starts, line, due, pause = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local limit, window, patience = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local request = ARGV[4]
if #KEYS ~= 4 or #ARGV ~= 4 or limit == nil or window == nil or patience == nil or limit < 1 then
  error('budget: four keys, a limit, a window, a patience and a name are needed')
end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local function newest(key) return tonumber(redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')[2] or 0) end
if newest(starts) > now or newest(line) > now then
  -- The clock was set back: what started later than now counts as started now, and all line up anew.
  for _, later in ipairs(redis.call('ZRANGE', starts, string.format('(%.0f', now), '+inf', 'BYSCORE')) do
    redis.call('ZADD', starts, now, later)
  end
  redis.call('DEL', line, due)
end

-- One that was let start and did not comes again before all others: its place in line is gone.
local again = redis.call('ZREM', starts, request) == 1
redis.call('ZREMRANGEBYSCORE', starts, '-inf', now - window)
for _, gone in ipairs(redis.call('ZRANGE', due, '-inf', string.format('(%.0f', now), 'BYSCORE')) do
  redis.call('ZREM', line, gone)
  redis.call('ZREM', due, gone)
end

local started = redis.call('ZCARD', starts)
local ahead = again and 0 or redis.call('ZRANK', line, request) or redis.call('ZCARD', line)
local paused = math.max(redis.call('PTTL', pause), 0) * 1000
if paused == 0 and started + ahead < limit then
  redis.call('ZREM', line, request)
  redis.call('ZREM', due, request)
  redis.call('ZADD', starts, now, request)
  redis.call('PEXPIRE', starts, math.ceil(window / 1000) + 1)
  return 0
end

-- It starts a window after the one that lies `limit` starts before it, and that one likewise if it is yet to come.
local before, windows = started + ahead, 0
while before >= started and before >= limit do before, windows = before - limit, windows + 1 end
local start = before < started and redis.call('ZRANGE', starts, before, before, 'WITHSCORES')[2] or now
-- Not later than its patience lasts, because those ahead may have gone.
local wait = math.min(math.max(paused, start + windows * window - now), patience)
redis.call('ZADD', line, 'NX', now, request)
redis.call('ZADD', due, now + wait + patience, request)
redis.call('PEXPIRE', line, math.ceil(2 * patience / 1000))
redis.call('PEXPIRE', due, math.ceil(2 * patience / 1000))
return wait
