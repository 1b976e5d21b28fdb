--[[
Purpose  Hold the lease for another term, if it is still this holder's.
KEYS     1 lease
ARGV     1 nonce, 2 term in milliseconds
Returns  1 if held, 0 if another holds it or it has lapsed
Effects  PEXPIRE
]]
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
