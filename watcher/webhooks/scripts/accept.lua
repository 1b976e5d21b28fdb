-- Turn stream entries into deliveries and acknowledge them, in one step.
--
-- Only who acknowledges an entry first accepts it: a reader that was overtaken while it stood still, or asks
-- again because the answer was lost, changes nothing. The cursor then tells up to where every entry has been
-- acknowledged.
--
-- KEYS 1 events  2 cursor  3 endpoints  then due, waiting for each endpoint named
-- ARGV 1 group  2 now (ms)  3 number of endpoints  then name, first delay (ms) for each
--      then for each entry: id, positions of its endpoints among those named (from 1, separated by commas)
-- Returns {entries accepted, deliveries made}

local events, cursor, endpoints = KEYS[1], KEYS[2], KEYS[3]
local group, now, count = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
if not group or not now or not count or #KEYS ~= 3 + 2 * count or (#ARGV - 3 - 2 * count) % 2 ~= 0 then
  return redis.error_reply('ERR accept: keys and arguments do not fit together')
end
for i = 1, count do
  if not tonumber(ARGV[3 + 2 * i]) then
    return redis.error_reply('ERR accept: the delay of an endpoint is not a number')
  end
end
local first = 4 + 2 * count
for i = first, #ARGV, 2 do
  if not string.match(ARGV[i], '^%d+%-%d+$') then
    return redis.error_reply('ERR accept: not a stream id: ' .. ARGV[i])
  end
  for position in string.gmatch(ARGV[i + 1], '[^,]+') do
    local number = tonumber(position)
    if not number or number < 1 or number > count or number % 1 ~= 0 then
      return redis.error_reply('ERR accept: not the position of an endpoint: ' .. position)
    end
  end
end

local accepted, deliveries = 0, 0
for i = first, #ARGV, 2 do
  local id = ARGV[i]
  if redis.call('XACK', events, group, id) == 1 then
    accepted = accepted + 1
    local ms, seq = string.match(id, '^(%d+)%-(%d+)$')
    -- The sequence number as a fraction keeps the order of events of one millisecond.
    local order = math.min(tonumber(ms), now) + math.min(tonumber(seq), 4095) / 4096
    for position in string.gmatch(ARGV[i + 1], '%d+') do
      local endpoint = tonumber(position)
      redis.call('SADD', endpoints, ARGV[2 + 2 * endpoint])
      redis.call('ZADD', KEYS[3 + 2 * endpoint], 'NX', ms, id)
      redis.call('ZADD', KEYS[2 + 2 * endpoint], 'NX', order + tonumber(ARGV[3 + 2 * endpoint]), id)
      deliveries = deliveries + 1
    end
  end
end

if accepted > 0 then
  for _, flat in ipairs(redis.call('XINFO', 'GROUPS', events)) do
    local one = {}
    for i = 1, #flat, 2 do one[flat[i]] = flat[i + 1] end
    if one.name == group then
      local watermark = one['last-delivered-id']
      if one.pending > 0 then
        local ms, seq = string.match(redis.call('XPENDING', events, group)[2], '^(%d+)%-(%d+)$')
        if seq ~= '0' then
          watermark = ms .. '-' .. string.format('%.0f', tonumber(seq) - 1)
        else
          watermark = string.format('%.0f', math.max(tonumber(ms) - 1, 0)) .. '-18446744073709551615'
        end
      end
      redis.call('SET', cursor, watermark)
    end
  end
end
return { accepted, deliveries }
