-- Part of other scripts: when an endpoint's deliveries are due, and which of a task's goes first.
--
-- Where an endpoint keeps the order of each task, its deliveries stand in their task's line, in the stream's order.
-- Of a line one is due or claimed: the first, or one that was claimed before an older one came, until it is settled.
-- Where what is no longer news is passed over (`coalesce`), the newest that waits goes on, and what waits before it is
-- superseded: it leaves the line and is due at SUPERSEDED, before everything else, to be claimed and told of.
-- What was accepted without an order stands in no line.
--
-- line     sorted set, all of one score: the task, a space, and the id so padded that the texts sort as the ids do
-- ordered  hash: id → its task, and after a space when it is due, if it stands behind another and is due later;
--          or `>` and the id that superseded it
-- A task is a text without white space that does not begin with `>`.

local SUPERSEDED, MOST = -1, 100

-- When a delivery is due that need not wait. The sequence number as a fraction keeps the order of events of one
-- millisecond.
local function moment(id, now)
  local ms, seq = string.match(id, '^(%d+)%-(%d+)$')
  return math.min(tonumber(ms), now) + math.min(tonumber(seq), 4095) / 4096
end

local function lines(due, line, ordered, now, coalesce)
  local here = {}

  -- The task of one that stands in a line; else nil, and the id that superseded it, if that is why.
  function here.task(id)
    local task = redis.call('HGET', ordered, id)
    if task and string.sub(task, 1, 1) == '>' then return nil, string.sub(task, 2) end
    return task and string.match(task, '^%S+') or nil
  end

  -- Let one that has to wait for another be due no sooner than it was.
  local function keep(id, task, at)
    at = tonumber(at)
    redis.call('HSET', ordered, id, at >= now + 1 and string.format('%s %.4f', task, at) or task)
  end

  local function kept(id)
    return string.match(redis.call('HGET', ordered, id) or '', ' (%S+)$')
  end

  local function member(task, id)
    local ms, seq = string.match(id, '^(%d+)%-(%d+)$')
    return task .. ' ' .. string.rep('0', 20 - #ms) .. ms .. '-' .. string.rep('0', 20 - #seq) .. seq
  end

  local function ids_of(members)
    for i, one in ipairs(members) do
      members[i] = table.concat({ string.match(one, ' 0*(%d+)%-0*(%d+)$') }, '-')
    end
    return members
  end

  local function first(task, most)
    return ids_of(redis.call('ZRANGE', line, '[' .. task .. ' ', '(' .. task .. '!', 'BYLEX', 'LIMIT', 0, most))
  end

  local function newest(task)
    return ids_of(redis.call('ZRANGE', line, '(' .. task .. '!', '[' .. task .. ' ', 'BYLEX', 'REV', 'LIMIT', 0, 1))[1]
  end

  local function supersede(task, id, by)
    redis.call('ZREM', line, member(task, id))
    redis.call('HSET', ordered, id, '>' .. by)
    redis.call('ZADD', due, SUPERSEDED, id)
  end

  -- Let the next of a line be due, none of it being due or claimed: when `at` says, or now. Returns its id.
  local function go_on(task, at)
    local ids = first(task, coalesce and MOST or 1)
    local one = table.remove(ids)
    for _, id in ipairs(ids) do supersede(task, id, one) end
    if one then
      redis.call('ZADD', due, at[one] or kept(one) or moment(one, now), one)
      redis.call('HSET', ordered, one, task)
    end
    return one
  end

  -- Let one that is new stand in its task's line; it is due at `at` if it need not wait.
  function here.enter(id, task, at)
    local ahead = first(task, 1)[1]
    local due_at = ahead and redis.call('ZSCORE', due, ahead)
    redis.call('ZADD', line, 0, member(task, id))
    keep(id, task, at)
    if not ahead then
      redis.call('ZADD', due, at, id)
    elseif due_at then
      redis.call('ZREM', due, ahead)
      keep(ahead, task, due_at)
      go_on(task, { [id] = at, [ahead] = due_at })
    elseif coalesce then
      local last = newest(task) -- one of the line is claimed, and may be newer
      if last ~= id then supersede(task, id, last) end
    end
  end

  -- Let one that is claimed no longer be due at `at`, if it is its turn. Returns whether another goes on instead.
  function here.back(id, at)
    local task, by = here.task(id)
    if task then
      keep(id, task, at)
      return go_on(task, { [id] = at }) ~= id
    end
    redis.call('ZADD', due, by and SUPERSEDED or at, id)
    return false
  end

  -- Let one go for good; `was_next` if it was due or claimed. Returns whether another goes on.
  function here.leave(id, was_next)
    local task = here.task(id)
    redis.call('HDEL', ordered, id)
    if not task then return false end
    redis.call('ZREM', line, member(task, id))
    return was_next and go_on(task, {}) ~= nil
  end

  return here
end
