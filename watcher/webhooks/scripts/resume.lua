-- Let a lane go on as if nothing had been, but for when: what another shard's lane still says of before does not pause
-- it again.
--
-- KEYS 1 lane
-- ARGV 1 now (ms)

if not tonumber(ARGV[1]) then
  return redis.error_reply('ERR resume: now is needed')
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'resumed_at', ARGV[1])
