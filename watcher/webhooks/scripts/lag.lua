-- Part of other scripts: endpoints that lag. Where more is due to an endpoint than there is room for, what comes after
-- is no delivery yet: it stays on the stream alone, whatever the endpoint does, and is drawn from there when nothing
-- else is due (`draw`). It takes no step in the store, so that those who keep up are not held up by it.
--
-- lagging  hash: endpoint → up to which id everything that is accepted becomes its deliveries at once, and how many
--          entries the group had been given by then; and VERSION, which is another each time one begins or ends to lag,
--          so that whoever knows it knows who lags

local VERSION = '#version'

local function later(id, other)
  local ms, seq = string.match(id, '^(%d+)%-(%d+)$')
  local other_ms, other_seq = string.match(other, '^(%d+)%-(%d+)$')
  if ms ~= other_ms then return tonumber(ms) > tonumber(other_ms) end
  return tonumber(seq) > tonumber(other_seq)
end

-- Up to which id it has its deliveries, and how many entries that were; nothing where it does not lag.
local function lag_of(lagging, name)
  local after, read = string.match(redis.call('HGET', lagging, name) or '', '^(%S+) (%d+)$')
  return after, tonumber(read)
end

-- Who lags, with the version, which is empty where nobody ever did.
local function all_lags(lagging)
  local all = redis.call('HGETALL', lagging)
  return #all > 0 and all or { VERSION, '' }
end

local function note(lagging)
  redis.call('HSET', lagging, VERSION, table.concat(redis.call('TIME'), '.'))
end

local function begin_to_lag(lagging, name, after, read)
  redis.call('HSET', lagging, name, string.format('%s %.0f', after, read))
  note(lagging)
end

local function no_longer_lag(lagging, name)
  redis.call('HDEL', lagging, name)
  note(lagging)
end

-- The last id that was given to anybody of a consumer group, how many were by then, as far as the server knows, and how
-- many of those were not acknowledged; nothing where there is no group.
local function given(events, group)
  local groups = redis.pcall('XINFO', 'GROUPS', events)
  if groups.err then return nil end
  for _, flat in ipairs(groups) do
    local one = {}
    for i = 1, #flat, 2 do one[flat[i]] = flat[i + 1] end
    if one.name == group then
      return one['last-delivered-id'], tonumber(one['entries-read'] or nil), one.pending
    end
  end
end
