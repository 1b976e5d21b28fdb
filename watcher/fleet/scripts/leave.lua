-- Forget a replica: it is about to end.
--
-- KEYS 1 replicas  2 terms  3 doing
-- ARGV 1 replica
if not ARGV[1] then return redis.error_reply('ERR leave: a replica is needed') end
for i = 1, 2 do redis.call('ZREM', KEYS[i], ARGV[1]) end
return redis.call('HDEL', KEYS[3], ARGV[1])
