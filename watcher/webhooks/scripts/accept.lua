-- Turn stream entries into deliveries and acknowledge them, in one step.
--
-- Only who acknowledges an entry first accepts it: a reader that was overtaken while it stood still, or asks
-- again because the answer was lost, changes nothing. The cursor then tells up to where every entry has been
-- acknowledged.
--
-- What is for an endpoint that keeps an order is accepted only after everything before it on the stream: where
-- another reader still has some of that, this ends, and whoever called is to take that over first.
--
-- An endpoint to which so much is due that there is no `room` for more lags from here on: it gets its deliveries of what
-- the group was given so far, and what comes after is left on the stream. One that is not to be sent to at once, or is
-- to be told of the newest only, does not. Who lags is known to whoever asks by `version`; one who does not know it yet
-- is told, and nothing is accepted.
--
-- KEYS 1 events  2 cursor  3 endpoints  4 lagging  then due, waiting for each endpoint named, then line, ordered for
--      each of those that keep an order
-- ARGV 1 group  2 now (ms)  3 room  4 version
--      5 the entries, rising, each as its id, a colon, and a comma before the position (from 1) of each of its
--        endpoints among those that follow: `1700000000000-0:,1,3 1700000000000-1:`; then, if one of those keeps
--        an order, `=` and the task
--      then name, first delay (ms), order for each endpoint: `none`, `task`, or `newest` to pass over the others
-- Returns {entries accepted, deliveries made, 1 if something is to be taken over first or 0,
--         {}, or who lags, as `lagging` holds it, if its version is another by now}

-- Includes parts
-- Includes order
-- Includes lag

local events, cursor, endpoints, lagging = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local group, now, room, version, entries = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], ARGV[5]
local count = (#ARGV - 5) / 3
local last = 4 + 2 * count -- of the keys that belong to somebody
if not group or not now or not room or not entries or #KEYS < last then
  return redis.error_reply('ERR accept: keys and arguments do not fit together')
end
local names, delays, orders, ordering = {}, {}, {}, {}
for i = 1, count do
  names[i], delays[i] = ARGV[3 + 3 * i], tonumber(ARGV[4 + 3 * i])
  local order = ARGV[5 + 3 * i]
  orders[i] = order
  if not delays[i] then
    return redis.error_reply('ERR accept: the delay of an endpoint is not a number')
  end
  if order == 'task' or order == 'newest' then
    ordering[i] = lines(KEYS[3 + 2 * i], KEYS[last + 1], KEYS[last + 2], now, order == 'newest')
    last = last + 2
  elseif order ~= 'none' then
    return redis.error_reply('ERR accept: not an order: ' .. order)
  end
end
if last ~= #KEYS then
  return redis.error_reply('ERR accept: keys and arguments do not fit together')
end
for entry in string.gmatch(entries, '%S+') do
  local positions, task = string.match(entry, '^%d+%-%d+:([,%d]*)=?(.*)$')
  if not positions or (task ~= '' and not string.match(entry, '^%d+%-%d+:[,%d]*=[^>]')) then
    return redis.error_reply('ERR accept: not an entry: ' .. entry)
  end
  for position in string.gmatch(positions, '%d+') do
    local i = tonumber(position)
    if not names[i] then
      return redis.error_reply('ERR accept: not the position of an endpoint: ' .. position)
    end
    if ordering[i] and task == '' then
      return redis.error_reply('ERR accept: an order needs a task: ' .. entry)
    end
  end
end

if (redis.call('HGET', lagging, VERSION) or '') ~= version then
  return { 0, 0, 0, all_lags(lagging) }
end

local accepted, deliveries, behind = 0, 0, 0
for id, positions, task in string.gmatch(entries, '(%d+%-%d+):([,%d]*)=?(%S*)') do
  -- Where the group is lost, that is an error, which has no length, and nothing is accepted below.
  if task ~= '' and #redis.pcall('XPENDING', events, group, '-', '(' .. id, 1) > 0 then
    behind = 1
    break
  end
  if redis.call('XACK', events, group, id) == 1 then
    accepted = accepted + 1
    local ms, soonest = string.match(id, '^%d+'), moment(id, now)
    for position in string.gmatch(positions, '%d+') do
      local i = tonumber(position)
      -- What waits already has its place.
      if redis.call('ZADD', KEYS[4 + 2 * i], 'NX', ms, id) == 1 then
        if ordering[i] then
          ordering[i].enter(id, task, soonest + delays[i])
        else
          redis.call('ZADD', KEYS[3 + 2 * i], soonest + delays[i], id)
        end
      end
      deliveries = deliveries + 1
    end
  end
end
if deliveries > 0 then in_parts('SADD', endpoints, names) end

local known = true
if accepted > 0 then
  local watermark, read, pending = given(events, group)
  for i = 1, read and count or 0 do
    if delays[i] == 0 and orders[i] ~= 'newest' and redis.call('ZCOUNT', KEYS[3 + 2 * i], 0, now) >= room
      and not lag_of(lagging, names[i]) then
      begin_to_lag(lagging, names[i], watermark, read)
      known = false
    end
  end
  if pending > 0 then
    local ms, seq = string.match(redis.call('XPENDING', events, group)[2], '^(%d+)%-(%d+)$')
    if seq ~= '0' then
      watermark = ms .. '-' .. string.format('%.0f', tonumber(seq) - 1)
    else
      watermark = string.format('%.0f', math.max(tonumber(ms) - 1, 0)) .. '-18446744073709551615'
    end
  end
  redis.call('SET', cursor, watermark)
end
return { accepted, deliveries, behind, known and {} or all_lags(lagging) }
