#!lua flags=allow-oom
-- Make sure that a consumer group reads the events, and forget consumers that are long gone.
--
-- A group that was there before (it has a cursor) but is not any more, because the server lost it, begins after
-- its cursor, so that nothing is skipped and little that was acknowledged is read again. If the cursor lies
-- beyond the stream's last entry, the stream is another one, and the group begins with its oldest entry. Where
-- a group without a cursor begins is the caller's choice. All in one step: what is appended from here on is
-- read, whichever way the group came to be.
--
-- KEYS 1 events  2 cursor
-- ARGV 1 group  2 'oldest' or 'newest': where a group without a cursor begins
--      3 milliseconds after which an idle consumer with nothing pending is forgotten
-- Returns {'there', ''} or {'created', the id after which it begins}

local events, cursor = KEYS[1], KEYS[2]
local group, first, idle = ARGV[1], ARGV[2], tonumber(ARGV[3])
if not group or (first ~= 'oldest' and first ~= 'newest') or not idle then
  return redis.error_reply('ERR join: group, oldest or newest, and idle time are needed')
end

local function fields(flat)
  local named = {}
  for i = 1, #flat, 2 do named[flat[i]] = flat[i + 1] end
  return named
end

local function parts(id)
  local ms, seq = string.match(id, '^(%d+)%-(%d+)$')
  return tonumber(ms), tonumber(seq)
end

local last = '0-0'
if redis.call('EXISTS', events) == 1 then
  for _, one in ipairs(redis.call('XINFO', 'GROUPS', events)) do
    if fields(one).name == group then
      for _, flat in ipairs(redis.call('XINFO', 'CONSUMERS', events, group)) do
        local consumer = fields(flat)
        -- One with something pending must stay: deleting it would take those entries from everybody.
        if consumer.pending == 0 and consumer.idle > idle then
          redis.call('XGROUP', 'DELCONSUMER', events, group, consumer.name)
        end
      end
      return { 'there', '' }
    end
  end
  last = fields(redis.call('XINFO', 'STREAM', events))['last-generated-id']
end

local start = redis.call('GET', cursor) or (first == 'newest' and last or '0-0')
local ms, seq = parts(start)
local last_ms, last_seq = parts(last)
if not ms or ms > last_ms or (ms == last_ms and seq > last_seq) then
  start = '0-0'
end
redis.call('XGROUP', 'CREATE', events, group, start, 'MKSTREAM')
redis.call('SET', cursor, start)
return { 'created', start }
