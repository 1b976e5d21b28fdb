-- Turn stream entries into deliveries and acknowledge them, in one step.
--
-- Only who acknowledges an entry first accepts it: a reader that was overtaken while it stood still, or asks
-- again because the answer was lost, changes nothing. The cursor then tells up to where every entry has been
-- acknowledged.
--
-- What is for an endpoint that keeps an order is accepted only after everything before it on the stream: where
-- another reader still has some of that, this ends, and whoever called is to take that over first.
--
-- KEYS 1 events  2 cursor  3 endpoints  then due, waiting, line, ordered for each endpoint named
-- ARGV 1 group  2 now (ms)
--      3 the entries, rising, each as its id, a colon, and a comma before the position (from 1) of each of its
--        endpoints among those that follow: `1700000000000-0:,1,3 1700000000000-1:`; then, if one of those keeps
--        an order, `=` and the task
--      then name, first delay (ms), order for each endpoint: `none`, `task`, or `newest` to pass over the others
-- Returns {entries accepted, deliveries made, 1 if something is to be taken over first or 0}

-- Includes order

local events, cursor, endpoints = KEYS[1], KEYS[2], KEYS[3]
local group, now, entries = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local count = (#ARGV - 3) / 3
if not group or not now or not entries or #KEYS ~= 3 + 4 * count then
  return redis.error_reply('ERR accept: keys and arguments do not fit together')
end
local places = {}
for i = 1, count do
  local name, delay, order = ARGV[1 + 3 * i], tonumber(ARGV[2 + 3 * i]), ARGV[3 + 3 * i]
  if not delay then
    return redis.error_reply('ERR accept: the delay of an endpoint is not a number')
  end
  if order ~= 'none' and order ~= 'task' and order ~= 'newest' then
    return redis.error_reply('ERR accept: not an order: ' .. order)
  end
  local due, waiting, line, ordered = unpack(KEYS, 4 * i, 3 + 4 * i)
  places[i] = { name = name, delay = delay, due = due, waiting = waiting }
  if order ~= 'none' then places[i].lines = lines(due, line, ordered, now, order == 'newest') end
end
for entry in string.gmatch(entries, '%S+') do
  local positions, task = string.match(entry, '^%d+%-%d+:([,%d]*)=?(.*)$')
  if not positions or (task ~= '' and not string.match(entry, '^%d+%-%d+:[,%d]*=[^>]')) then
    return redis.error_reply('ERR accept: not an entry: ' .. entry)
  end
  for position in string.gmatch(positions, '%d+') do
    local place = places[tonumber(position)]
    if not place then
      return redis.error_reply('ERR accept: not the position of an endpoint: ' .. position)
    end
    if place.lines and task == '' then
      return redis.error_reply('ERR accept: an order needs a task: ' .. entry)
    end
  end
end

local accepted, deliveries, behind = 0, 0, 0
local named = {}
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
      local place = places[tonumber(position)]
      if not place.named then
        place.named, named[#named + 1] = true, place.name
      end
      -- What waits already has its place.
      if redis.call('ZADD', place.waiting, 'NX', ms, id) == 1 then
        if place.lines then
          place.lines.enter(id, task, soonest + place.delay)
        else
          redis.call('ZADD', place.due, soonest + place.delay, id)
        end
      end
      deliveries = deliveries + 1
    end
  end
end
for first = 1, #named, MOST do
  redis.call('SADD', endpoints, unpack(named, first, math.min(first + MOST - 1, #named)))
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
return { accepted, deliveries, behind }
