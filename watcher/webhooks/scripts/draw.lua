#!lua flags=allow-oom
-- Claim what was left on the stream for an endpoint that lags, or let it stand in its task's line to be claimed.
--
-- Only who knows up to where it was drawn before draws on, and only all of it at once. What waits already, having been
-- asked for again, stays as it is.
--
-- KEYS 1 due  2 claimed  3 waiting  4 lane  5 line  6 ordered  7 lagging
-- ARGV 1 now (ms)  2 end of the claim (ms, later than now)  3 most to claim  4 threshold
--      5 whether to pass over what is no longer news (1 or 0)  6 the endpoint's name
--      7 after which id and 8 up to which id the stream was read  9 how many entries that gave
--      10… ids of what the endpoint wants of that, rising; then, where it keeps an order, `=` and the task
-- Returns {{id, due time} …} of what was claimed

-- Includes order
-- Includes gate
-- Includes lag

local due, claimed, waiting, lane, lagging = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[7]
local now, ends, most, threshold = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local name, after, reached, read = ARGV[6], ARGV[7], ARGV[8], tonumber(ARGV[9])
if not now or not ends or not most or not threshold or ends <= now or most < 1 or threshold < 1 then
  return redis.error_reply('ERR draw: now, a later end, a number and a threshold are needed')
end
if ARGV[5] ~= '0' and ARGV[5] ~= '1' then
  return redis.error_reply('ERR draw: whether to pass over what is no longer news is needed')
end
if not read or #ARGV - 9 > most then
  return redis.error_reply('ERR draw: a number of entries is needed, and no more ids than that')
end
for i = 7, #ARGV do
  local plain = string.match(ARGV[i], '^%d+%-%d+$')
  if i ~= 9 and not plain and (i < 9 or not string.match(ARGV[i], '^%d+%-%d+=[^%s>]%S*$')) then
    return redis.error_reply('ERR draw: not a stream id: ' .. ARGV[i])
  end
end

local before, read_before = lag_of(lagging, name)
local allowed, _, probing = gate(lane, now, threshold, most)
if before ~= after or allowed < #ARGV - 9 then return {} end

local here = lines(due, KEYS[5], KEYS[6], now, ARGV[5] == '1')
local drawn = {}
for i = 10, #ARGV do
  local id, task = string.match(ARGV[i], '^(%d+%-%d+)=?(.*)$')
  if redis.call('ZADD', waiting, 'NX', string.match(id, '^%d+'), id) == 1 then
    if task ~= '' then
      here.enter(id, task, moment(id, now))
    else
      redis.call('ZADD', claimed, ARGV[2], id)
      drawn[#drawn + 1] = { id, string.format('%.4f', moment(id, now)) }
    end
  end
end
redis.call('HSET', lagging, name, string.format('%s %.0f', reached, read_before + read))
if probing and #drawn > 0 then redis.call('HSET', lane, 'open', ARGV[2]) end
return drawn
