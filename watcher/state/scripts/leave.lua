--[[
Purpose  Remove keys, and a scope from the set of scopes, if this process still holds the lease.
KEYS     1 lease, 2 scopes, 3… keys
ARGV     1 nonce, 2 scope ("" = none)
Returns  1 if they are gone, 0 if another holds the lease
Effects  UNLINK, SREM
]]
if #ARGV ~= 2 then error('leave: a nonce and a scope are needed') end
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
for i = 3, #KEYS do
  redis.call('UNLINK', KEYS[i])
end
if ARGV[2] ~= '' then redis.call('SREM', KEYS[2], ARGV[2]) end
return 1
