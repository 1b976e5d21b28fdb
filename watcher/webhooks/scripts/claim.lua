#!lua flags=allow-oom
-- Claim deliveries that are due: move them to the claims, so that nobody else takes them before the claim ends.
-- That end is the claim's token. Claims that have ended go back to their place among what is due.
--
-- Where less is due than is wanted, and the endpoint lags, it reads what was left on the stream as well, to be drawn by
-- whoever knows what of it the endpoint wants (`draw`). Only what is acknowledged is: the rest may yet become deliveries
-- otherwise. It lags no longer once nothing is left.
--
-- What was superseded is claimed in any case, a hundred at a time: it is not to be sent, but told of.
--
-- It and `settle` run even when the server is out of memory: they are what frees it.
--
-- KEYS 1 due  2 claimed  3 attempts  4 events  5 lane  6 kept  7 line  8 ordered  9 lagging  10 cursor
-- ARGV 1 now (ms)  2 end of the claim (ms, later than now)  3 most to claim, of a thousand  4 threshold
--      5 whether to pass over what is no longer news (1 or 0)  6 the endpoint's name  7 group
--      8 most to read of what was left
-- Returns {when to look again (ms) or '',
--         {{id, due time before, attempts so far or '', {field, value, …}, id of the event that superseded it} …},
--         {how many more could be claimed, after which id the stream was read, up to which id, the entries},
--         or {how many entries were gone before they were drawn} where nothing is left, or {},
--         {id, due time before, attempts so far or '', {field, value, …}} …};
--         an entry that is neither on the stream nor kept has no fields, and its event the id ''

-- Includes parts
-- Includes order
-- Includes gate
-- Includes lag

local due, claimed, attempts, events, lane, kept, line, ordered, lagging, cursor = unpack(KEYS)
local now, ends, most, threshold = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
if not now or not ends or not most or not threshold or ends <= now or most < 1 or threshold < 1 then
  return redis.error_reply('ERR claim: now, a later end, a number and a threshold are needed')
end
if ARGV[5] ~= '0' and ARGV[5] ~= '1' then
  return redis.error_reply('ERR claim: whether to pass over what is no longer news is needed')
end
local name, group, most_read = ARGV[6], ARGV[7], tonumber(ARGV[8])
if not name or not group or not most_read then
  return redis.error_reply('ERR claim: a name, a group and a number to read are needed')
end

local here = redis.call('EXISTS', ordered) == 1 and lines(due, line, ordered, now, ARGV[5] == '1')
for _, id in ipairs(redis.call('ZRANGE', claimed, '-inf', now, 'BYSCORE', 'LIMIT', 0, 1000)) do
  redis.call('ZREM', claimed, id)
  if here then
    here.back(id, moment(id, now))
  else
    redis.call('ZADD', due, moment(id, now), id)
  end
end

local function fields(id)
  local entry = redis.call('XRANGE', events, id, id)[1]
  if entry then return entry[2] end
  local saved = redis.call('HGET', kept, id)
  return saved and cmsgpack.unpack(saved) or {}
end

local function event_id(id)
  local flat = fields(id)
  for i = 1, #flat, 2 do
    if flat[i] == 'id' then return flat[i + 1] end
  end
  return ''
end

local superseded = {}
if here then
  for _, id in ipairs(redis.call('ZRANGE', due, SUPERSEDED, SUPERSEDED, 'BYSCORE', 'LIMIT', 0, MOST)) do
    local _, by = here.task(id)
    redis.call('ZREM', due, id)
    redis.call('ZADD', claimed, ends, id)
    superseded[#superseded + 1] = { id, tostring(SUPERSEDED), '', fields(id), event_id(by) }
  end
end

local again, probing
most, again, probing = gate(lane, now, threshold, most)
if most == 0 then return { again, superseded, {} } end

local reply, ids, ending = { '', superseded, {} }, {}, {}
local found = redis.call('ZRANGE', due, 0, ARGV[1], 'BYSCORE', 'LIMIT', 0, math.min(most, PART), 'WITHSCORES')
for i = 1, #found, 2 do
  ids[#ids + 1] = found[i]
  ending[i], ending[i + 1] = ARGV[2], found[i]
end
in_parts('ZREM', due, ids)
in_parts('ZADD', claimed, ending)
local records = #ids > 0 and redis.call('HMGET', attempts, unpack(ids)) or {}
for i, id in ipairs(ids) do
  reply[#reply + 1] = { id, found[2 * i], records[i] or '', fields(id) }
end
local after, drawn
if #ids < most then after, drawn = lag_of(lagging, name) end
if after then
  local last, read, pending = given(events, group)
  -- The cursor stays behind where somebody took off the stream what was the last to be acknowledged.
  local upto = pending == 0 and last or redis.call('GET', cursor)
  if last and not later(last, after) then
    no_longer_lag(lagging, name)
    reply[3] = { math.max(0, (read or 0) - drawn) }
  elseif upto and later(upto, after) then
    local left = redis.call('XRANGE', events, '(' .. after, upto, 'COUNT', most_read)
    reply[3] = { most - #ids, after, #left == most_read and left[#left][1] or upto, left }
  end
end
if probing and #ids > 0 then
  redis.call('HSET', lane, 'open', ARGV[2])
  reply[1] = ARGV[2]
  return reply
end
local earliest
for _, key in ipairs({ due, claimed }) do
  local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]
  if first and (not earliest or tonumber(first) < tonumber(earliest)) then earliest = first end
end
reply[1] = earliest or ''
return reply
