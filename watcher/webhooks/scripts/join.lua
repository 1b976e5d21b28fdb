-- Make sure that a consumer group reads the events, and forget consumers that are long gone.
--
-- A group that is not there (first start, or the server lost it) begins after its cursor, so that nothing is
-- skipped and nothing that was acknowledged is read again. Without a cursor, or with one beyond the stream's
-- last entry (the stream is another one), it begins with the oldest entry. Never with `$`: events that were
-- published before the group was made would be lost.
--
-- KEYS 1 events  2 cursor
-- ARGV 1 group  2 milliseconds after which an idle consumer with nothing pending is forgotten
-- Returns {'there', ''} or {'created', the id after which it begins}

local events, cursor = KEYS[1], KEYS[2]
local group, idle = ARGV[1], tonumber(ARGV[2])
if not group or not idle then
  return redis.error_reply('ERR join: group and idle time are needed')
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

local start = redis.call('GET', cursor) or '0-0'
local ms, seq = parts(start)
local last_ms, last_seq = parts(last)
if not ms or ms > last_ms or (ms == last_ms and seq > last_seq) then
  start = '0-0'
end
redis.call('XGROUP', 'CREATE', events, group, start, 'MKSTREAM')
redis.call('SET', cursor, start)
return { 'created', start }
