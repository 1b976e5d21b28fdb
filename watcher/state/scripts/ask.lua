--[[
Purpose  Ask for a backfill, unless what was asked for before has changed since it was read.
KEYS     1 backfill
ARGV     1 request and 2 progress as they were read ("" = absent), 3 request and 4 progress as they are to be
Returns  1 if it is asked for, 0 if what was there is no longer as it was read
Effects  HSET
]]
if #ARGV ~= 4 then error('ask: what was read and what is to be are needed') end
local held = redis.call('HMGET', KEYS[1], 'request', 'progress')
if (held[1] or '') ~= ARGV[1] or (held[2] or '') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'request', ARGV[3], 'progress', ARGV[4])
return 1
