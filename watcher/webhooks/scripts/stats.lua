-- How an endpoint's deliveries stand.
--
-- KEYS 1 waiting  2 dead
-- Returns {deliveries waiting, age of the oldest (ms, '' without any), dead letters}

local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
local time = redis.call('TIME')
-- The stream's ids are the server's time, so its age is taken on the server's clock.
local age = oldest[2] and string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) - oldest[2]) or ''
return { redis.call('ZCARD', KEYS[1]), age, redis.call('XLEN', KEYS[2]) }
