-- How an endpoint's deliveries stand.
--
-- KEYS 1 waiting  2 dead  3 lane
-- Returns {deliveries waiting, age of the oldest (ms, '' without any), dead letters,
--          why it is paused or '', when that was (ms) or '', until when it is held (ms) or '', failures in a row,
--          why it does not permit that it is sent to, or ''}

local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
local time = redis.call('TIME')
-- The stream's ids are the server's time, so its age is taken on the server's clock.
local age = oldest[2] and string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) - oldest[2]) or ''
local lane = redis.call('HMGET', KEYS[3], 'paused', 'paused_at', 'hold', 'open', 'failures', 'refused')
local held = math.max(tonumber(lane[3] or 0), tonumber(lane[4] or 0))
return { redis.call('ZCARD', KEYS[1]), age, redis.call('XLEN', KEYS[2]), lane[1] or '', lane[2] or '',
  held > 0 and string.format('%.0f', held) or '', tonumber(lane[5] or 0), lane[6] or '' }
