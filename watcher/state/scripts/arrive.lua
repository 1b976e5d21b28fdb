--[[
Purpose  Put a scope's keys, as another shard had them, in their place, if this process still holds the lease.
KEYS     1 lease, 2 scopes, 3… keys
ARGV     1 nonce, 2 scope, 3… what DUMP gave of the keys, in their order
Returns  1 if they are there, 0 if another holds the lease
Effects  RESTORE, SADD
]]
if #ARGV < 2 or #ARGV ~= #KEYS then error('arrive: a nonce, a scope and a dump for each key are needed') end
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
for i = 3, #KEYS do
  redis.call('RESTORE', KEYS[i], 0, ARGV[i], 'REPLACE')
end
redis.call('SADD', KEYS[2], ARGV[2])
return 1
