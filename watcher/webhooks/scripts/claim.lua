#!lua flags=allow-oom
-- Claim deliveries that are due: put their due time to the end of the claim, so that nobody else takes them
-- before. The new due time is the claim's token.
--
-- It and `settle` run even when the server is out of memory: they are what frees it.
--
-- KEYS 1 due  2 attempts  3 events
-- ARGV 1 now (ms)  2 end of the claim (ms, later than now)  3 most to claim
-- Returns {earliest due time left or '', {id, due time before, attempts so far or '', {field, value, …}} …};
--         an entry that is no longer on the stream has no fields

local due, attempts, events = KEYS[1], KEYS[2], KEYS[3]
local now, ends, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
if not now or not ends or not most or ends <= now or most < 1 then
  return redis.error_reply('ERR claim: now, a later end and a number are needed')
end

local reply = { '' }
local found = redis.call('ZRANGE', due, '-inf', ARGV[1], 'BYSCORE', 'LIMIT', 0, most, 'WITHSCORES')
for i = 1, #found, 2 do
  local id = found[i]
  local entry = redis.call('XRANGE', events, id, id)[1]
  redis.call('ZADD', due, 'XX', ends, id)
  reply[#reply + 1] = { id, found[i + 1], redis.call('HGET', attempts, id) or '', entry and entry[2] or {} }
end
local earliest = redis.call('ZRANGE', due, 0, 0, 'WITHSCORES')
reply[1] = earliest[2] or ''
return reply
