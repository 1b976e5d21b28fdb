#!lua flags=allow-oom
-- The next entries of one consumer: those it was given already, after an id that it has reached, else new ones.
--
-- Both in one step, so that an entry given under this consumer's name to somebody whose answer was lost, or who
-- had not noticed that another took over the name, is always found: it lies after the id reached.
--
-- KEYS 1 events
-- ARGV 1 group  2 consumer  3 id reached  4 most entries
-- Returns {{id, {field, value, …}} …}; an entry that has been deleted since it was given has no fields (nil)

local events = KEYS[1]
local group, consumer, reached, most = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
if not group or not consumer or not string.match(reached or '', '^%d+%-%d+$') or not most or most < 1 then
  return redis.error_reply('ERR read: group, consumer, a stream id and a number are needed')
end

local function read(after)
  local answer = redis.call('XREADGROUP', 'GROUP', group, consumer, 'COUNT', most, 'STREAMS', events, after)
  return answer and answer[1] and answer[1][2] or {}
end

local entries = read(reached)
if #entries == 0 then
  entries = read('>')
end
return entries
