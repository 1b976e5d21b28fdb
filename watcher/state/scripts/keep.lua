--[[
Purpose  Keep what was learned, if this daemon still holds the lease.
KEYS     1 lease, 2 hash
ARGV     1 nonce, then fields and values in turn
Returns  1 if kept, 0 if another holds the lease
Effects  HSET
]]
if #ARGV < 3 or #ARGV % 2 ~= 1 then error('keep: a nonce, fields and values are needed') end
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[2], unpack(ARGV, 2))
return 1
