-- Have dead letters delivered again. Their events are kept with them until they are delivered, should the stream
-- no longer hold them.
--
-- KEYS 1 due  2 waiting  3 attempts  4 dead  5 events  6 kept
-- ARGV 1 now (ms)  2 what their attempts gave so far  3… ids of dead letters
-- Returns how many there were

local due, waiting, attempts, dead, events, kept = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local now, record = tonumber(ARGV[1]), ARGV[2]
if not now or not record then
  return redis.error_reply('ERR revive: now and a record are needed')
end
for i = 3, #ARGV do
  if not string.match(ARGV[i], '^%d+%-%d+$') then
    return redis.error_reply('ERR revive: not the id of a dead letter: ' .. ARGV[i])
  end
end

local revived = 0
for i = 3, #ARGV do
  local letter = redis.call('XRANGE', dead, ARGV[i], ARGV[i])[1]
  if letter then
    local id
    for at = 1, #letter[2], 2 do
      if letter[2][at] == 'entry_id' then id = letter[2][at + 1] end
    end
    if redis.call('ZADD', waiting, 'NX', string.match(id, '^(%d+)'), id) == 1 then
      redis.call('ZADD', due, now, id)
      redis.call('HSET', attempts, id, record)
    end
    if #redis.call('XRANGE', events, id, id) == 0 then
      redis.call('HSET', kept, id, cmsgpack.pack(letter[2]))
    end
    redis.call('XDEL', dead, ARGV[i])
    revived = revived + 1
  end
end
return revived
