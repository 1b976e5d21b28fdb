--[[
Purpose  Note over how many shards the state is spread, unless that has changed since it was read.
KEYS     1 layout
ARGV     1 shards, 2 next and 3 retired as they were read ("" = absent), 4-6 the same as they are to be
Returns  1 if noted, 0 if what was there is no longer as it was read
Effects  HSET
]]
if #ARGV ~= 6 or tonumber(ARGV[4]) == nil then error('layout: what was read and what is to be are needed') end
local held = redis.call('HMGET', KEYS[1], 'shards', 'next', 'retired')
for i = 1, 3 do
  if (held[i] or '') ~= ARGV[i] then return 0 end
end
redis.call('HSET', KEYS[1], 'shards', ARGV[4], 'next', ARGV[5], 'retired', ARGV[6])
return 1
