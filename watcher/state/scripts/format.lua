--[[
Purpose  Note the version of what a shard holds, or the one that it is being brought to, if this daemon still holds
         the lease.
KEYS     1 lease, 2 format
ARGV     1 nonce, 2 version, 3 next ("" = none)
Returns  1 if noted, 0 if another holds the lease
Effects  HSET, HDEL
]]
if #ARGV ~= 3 or tonumber(ARGV[2]) == nil or (ARGV[3] ~= '' and tonumber(ARGV[3]) == nil) then
  error('format: a nonce, a version and a next one are needed')
end
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[2], 'version', ARGV[2])
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[2], 'next')
else
  redis.call('HSET', KEYS[2], 'next', ARGV[3])
end
return 1
