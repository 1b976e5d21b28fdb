-- Have dead letters delivered again. Their events are kept with them until they are delivered, should the stream
-- no longer hold them. Those that stood in their task's line stand in it again.
--
-- KEYS 1 due  2 waiting  3 attempts  4 dead  5 events  6 kept  7 line  8 ordered
-- ARGV 1 now (ms)  2 what their attempts gave so far  3 whether to pass over what is no longer news (1 or 0)
--      4… ids of dead letters
-- Returns how many there were

-- Includes order

local due, waiting, attempts, dead, events, kept = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local now, record = tonumber(ARGV[1]), ARGV[2]
if not now or not record or (ARGV[3] ~= '0' and ARGV[3] ~= '1') then
  return redis.error_reply('ERR revive: now, a record and whether to pass over are needed')
end
for i = 4, #ARGV do
  if not string.match(ARGV[i], '^%d+%-%d+$') then
    return redis.error_reply('ERR revive: not the id of a dead letter: ' .. ARGV[i])
  end
end

local here = lines(due, KEYS[7], KEYS[8], now, ARGV[3] == '1')
local revived = 0
for i = 4, #ARGV do
  local letter = redis.call('XRANGE', dead, ARGV[i], ARGV[i])[1]
  if letter then
    local named = {}
    for at = 1, #letter[2], 2 do named[letter[2][at]] = letter[2][at + 1] end
    local id, task = named.entry_id, named.task
    if redis.call('ZADD', waiting, 'NX', string.match(id, '^(%d+)'), id) == 1 then
      if task then
        here.enter(id, task, now)
      else
        redis.call('ZADD', due, now, id)
      end
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
