-- Turn stream entries into deliveries and acknowledge them, in one step.
--
-- Only who acknowledges an entry first accepts it: a reader that was overtaken while it stood still, or asks
-- again because the answer was lost, changes nothing. The cursor then tells up to where every entry has been
-- acknowledged.
--
-- KEYS 1 events  2 cursor  3 endpoints  then due, claimed, waiting for each endpoint named
-- ARGV 1 group  2 now (ms)
--      3 the entries, each as its id, a colon, and a comma before the position (from 1) of each of its
--        endpoints among those that follow: `1700000000000-0:,1,3 1700000000000-1:`
--      then name, first delay (ms) for each endpoint
-- Returns {entries accepted, deliveries made}

local events, cursor, endpoints = KEYS[1], KEYS[2], KEYS[3]
local group, now, entries = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local count = (#ARGV - 3) / 2
if not group or not now or not entries or #KEYS ~= 3 + 3 * count then
  return redis.error_reply('ERR accept: keys and arguments do not fit together')
end
for i = 1, count do
  if not tonumber(ARGV[3 + 2 * i]) then
    return redis.error_reply('ERR accept: the delay of an endpoint is not a number')
  end
end
for entry in string.gmatch(entries, '%S+') do
  local positions = string.match(entry, '^%d+%-%d+:([,%d]*)$')
  if not positions then
    return redis.error_reply('ERR accept: not an entry: ' .. entry)
  end
  for position in string.gmatch(positions, '%d+') do
    if tonumber(position) < 1 or tonumber(position) > count then
      return redis.error_reply('ERR accept: not the position of an endpoint: ' .. position)
    end
  end
end

local accepted, deliveries = 0, 0
for ms, seq, positions in string.gmatch(entries, '(%d+)%-(%d+):(%S*)') do
  local id = ms .. '-' .. seq
  if redis.call('XACK', events, group, id) == 1 then
    accepted = accepted + 1
    -- The sequence number as a fraction keeps the order of events of one millisecond.
    local order = math.min(tonumber(ms), now) + math.min(tonumber(seq), 4095) / 4096
    for position in string.gmatch(positions, '%d+') do
      local endpoint = tonumber(position)
      redis.call('SADD', endpoints, ARGV[2 + 2 * endpoint])
      local due, claimed, waiting = unpack(KEYS, 1 + 3 * endpoint, 3 + 3 * endpoint)
      redis.call('ZADD', waiting, ms, id)
      -- One that is being delivered already is not due as well.
      if not redis.call('ZSCORE', claimed, id) then
        redis.call('ZADD', due, 'NX', order + tonumber(ARGV[3 + 2 * endpoint]), id)
      end
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
