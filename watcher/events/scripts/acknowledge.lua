#!lua flags=allow-oom
-- Acknowledge entries and move the group's cursor: the id up to which every entry has been acknowledged.
--
-- It runs even when the server is out of memory: it is what lets memory be freed.
--
-- KEYS 1 events  2 cursor
-- ARGV 1 group  then ids, at most 1000
-- Returns the number of entries that were pending and are not any more

local events, cursor, group = KEYS[1], KEYS[2], ARGV[1]
if #ARGV < 2 or #ARGV > 1001 then
  return redis.error_reply('ERR acknowledge: a group and 1 to 1000 ids are needed')
end
for i = 2, #ARGV do
  if not string.match(ARGV[i], '^%d+%-%d+$') then
    return redis.error_reply('ERR acknowledge: not a stream id: ' .. ARGV[i])
  end
end

local acknowledged = redis.call('XACK', events, group, unpack(ARGV, 2))
if acknowledged > 0 then
  for _, flat in ipairs(redis.call('XINFO', 'GROUPS', events)) do
    local one = {}
    for i = 1, #flat, 2 do one[flat[i]] = flat[i + 1] end
    if one.name == group then
      local watermark = one['last-delivered-id']
      if one.pending > 0 then
        -- Everything before the oldest entry that is still pending, whose predecessor in the order of ids this is.
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
return acknowledged
