-- How an endpoint's deliveries stand. Where it lags, everything that was given to the group since counts as waiting
-- for it, and the oldest is as old as what it has got so far.
--
-- KEYS 1 waiting  2 dead  3 lane  4 lagging  5 events
-- ARGV 1 the endpoint's name  2 group
-- Returns {deliveries waiting, age of the oldest (ms, '' without any), dead letters,
--          why it is paused or '', when that was (ms) or '', until when it is held (ms) or '', failures in a row,
--          why it does not permit that it is sent to, or ''}

-- Includes lag

local waiting = redis.call('ZCARD', KEYS[1])
local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
local after, read_before = lag_of(KEYS[4], ARGV[1])
local last, read = given(KEYS[5], ARGV[2])
if after and last and later(last, after) then
  waiting = waiting + math.max(1, (read or 0) - read_before)
  oldest = oldest or string.match(after, '^%d+')
end
local time = redis.call('TIME')
-- The stream's ids are the server's time, so its age is taken on the server's clock.
local age = oldest and string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) - oldest) or ''
local lane = redis.call('HMGET', KEYS[3], 'paused', 'paused_at', 'hold', 'open', 'failures', 'refused')
local held = math.max(tonumber(lane[3] or 0), tonumber(lane[4] or 0))
return { waiting, age, redis.call('XLEN', KEYS[2]), lane[1] or '', lane[2] or '',
  held > 0 and string.format('%.0f', held) or '', tonumber(lane[5] or 0), lane[6] or '' }
