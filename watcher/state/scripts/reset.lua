--[[
Purpose  Forget a scope in one step, so that what a daemon writes of it meanwhile comes either before or after.
KEYS     1 scopes, 2… the scope's keys
ARGV     1 scope
Returns  1
Effects  UNLINK, SREM
]]
if #ARGV ~= 1 then error('reset: a scope is needed') end
for i = 2, #KEYS do
  redis.call('UNLINK', KEYS[i])
end
redis.call('SREM', KEYS[1], ARGV[1])
return 1
