-- Forget an endpoint, and that it lags, in one step: whoever believed that it still does would leave its events on the
-- stream, from where nobody draws them.
--
-- KEYS 1 lagging  2 endpoints  then all that is kept for it
-- ARGV 1 its name

-- Includes lag

local lagging, endpoints, name = KEYS[1], KEYS[2], ARGV[1]
if not name or #KEYS < 3 then
  return redis.error_reply('ERR forget: a name, and what is kept for it are needed')
end
no_longer_lag(lagging, name)
redis.call('UNLINK', unpack(KEYS, 3))
redis.call('SREM', endpoints, name)
