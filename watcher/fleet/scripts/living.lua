-- Who lives, without saying anything of oneself.
--
-- KEYS 1 replicas  2 terms  3 doing
-- Returns {replica, joined (ms), what it does} …, the eldest first

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local answer = {}
local found = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for i = 1, #found, 2 do
  local ends = redis.call('ZSCORE', KEYS[2], found[i])
  if ends and tonumber(ends) > now then
    answer[#answer + 1] = { found[i], found[i + 1], redis.call('HGET', KEYS[3], found[i]) or '' }
  end
end
return answer
