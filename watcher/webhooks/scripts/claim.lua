#!lua flags=allow-oom
-- Claim deliveries that are due: move them to the claims, so that nobody else takes them before the claim ends.
-- That end is the claim's token. Claims that have ended go back to their place among what is due.
--
-- A lane that is paused gives nothing; one that is held gives nothing before the hold ends. After `threshold`
-- failures in a row it gives one delivery at a time, the probe, which holds the lane until its claim ends or is
-- settled.
--
-- What was superseded is claimed in any case, a hundred at a time: it is not to be sent, but told of.
--
-- It and `settle` run even when the server is out of memory: they are what frees it.
--
-- KEYS 1 due  2 claimed  3 attempts  4 events  5 lane  6 kept  7 line  8 ordered
-- ARGV 1 now (ms)  2 end of the claim (ms, later than now)  3 most to claim, of a thousand  4 threshold
--      5 whether to pass over what is no longer news (1 or 0)
-- Returns {when to look again (ms) or '',
--         {{id, due time before, attempts so far or '', {field, value, …}, id of the event that superseded it} …},
--         {id, due time before, attempts so far or '', {field, value, …}} …};
--         an entry that is neither on the stream nor kept has no fields, and its event the id ''

-- Includes parts
-- Includes order

local due, claimed, attempts, events, lane, kept, line, ordered = unpack(KEYS)
local now, ends, most, threshold = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
if not now or not ends or not most or not threshold or ends <= now or most < 1 or threshold < 1 then
  return redis.error_reply('ERR claim: now, a later end, a number and a threshold are needed')
end
if ARGV[5] ~= '0' and ARGV[5] ~= '1' then
  return redis.error_reply('ERR claim: whether to pass over what is no longer news is needed')
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

local state = redis.call('HMGET', lane, 'paused', 'hold', 'open', 'failures')
if state[1] then return { '', superseded } end
local held = math.max(tonumber(state[2] or 0), tonumber(state[3] or 0))
if held > now then return { string.format('%.0f', held), superseded } end
local probing = tonumber(state[4] or 0) >= threshold
if probing then most = 1 end

local reply, ids, ending = { '', superseded }, {}, {}
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
