--[[
Purpose  Let no request start for a while; of several pauses the one that ends last holds.
KEYS     1 pause
ARGV     1 milliseconds
Returns  1 if the pause is longer than it was, 0 if not
Effects  SET
]]
local wanted = tonumber(ARGV[1])
if wanted == nil or wanted < 1 then error('pause: not a number of milliseconds') end
if redis.call('PTTL', KEYS[1]) >= wanted then return 0 end
redis.call('SET', KEYS[1], '1', 'PX', ARGV[1])
return 1
