-- Part of other scripts: how many deliveries a lane gives now.
--
-- One that is paused gives nothing; one that is held gives nothing before the hold ends. After `threshold` failures in
-- a row it gives one delivery at a time, the probe, which holds the lane until its claim ends or is settled.

-- How many of `most`, when to look again if none (ms, '' if that is not known), and whether it is the probe.
local function gate(lane, now, threshold, most)
  local state = redis.call('HMGET', lane, 'paused', 'hold', 'open', 'failures')
  if state[1] then return 0, '' end
  local held = math.max(tonumber(state[2] or 0), tonumber(state[3] or 0))
  if held > now then return 0, string.format('%.0f', held) end
  local probing = tonumber(state[4] or 0) >= threshold
  return probing and 1 or most, '', probing
end
