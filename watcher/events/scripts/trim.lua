-- Remove the oldest entries of a stream, but none that a delivery still needs: what waits is looked at in the same step,
-- since a dead letter that is retried, or an event that is sent again, may have begun to wait at any moment.
--
-- KEYS 1 events  2 endpoints  then waiting for each endpoint named
-- ARGV 1 the id before which entries are removed  then the name of each endpoint
-- Returns how many were removed, or -1 where there is an endpoint that was not named: then nothing was

local events, endpoints, limit = KEYS[1], KEYS[2], ARGV[1]
local ms = tonumber(string.match(limit or '', '^(%d+)%-%d+$'))
if not ms or #KEYS ~= #ARGV + 1 then
  return redis.error_reply('ERR trim: an id, and a name for each key of what waits are needed')
end

local named = {}
for i = 2, #ARGV do named[ARGV[i]] = true end
for _, name in ipairs(redis.call('SMEMBERS', endpoints)) do
  if not named[name] then return -1 end
end
for i = 3, #KEYS do
  local oldest = tonumber(redis.call('ZRANGE', KEYS[i], 0, 0, 'WITHSCORES')[2])
  if oldest and oldest <= ms then
    ms, limit = oldest, string.format('%.0f-0', oldest)
  end
end
return redis.call('XTRIM', events, 'MINID', limit)
