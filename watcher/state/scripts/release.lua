--[[
Purpose  Give the lease up, if it is still this holder's, so that another takes over at once.
KEYS     1 lease
ARGV     1 nonce
Returns  1 if it was given up, 0 if it was not this holder's
Effects  DEL
]]
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
