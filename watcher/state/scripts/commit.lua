--[[
Purpose  Write what one page brought, if this daemon still holds the lease and nothing of it has changed since
         it was read. One atomic step: records, in-flight index, coverage and stream entries. A scope of which
         something is remembered is in the set of scopes.
KEYS     1 lease, 2 event stream, 3 in-flight index, 4 bucket index, 5 scopes, 6… hashes
ARGV     nonce, scope,
         n, then n times: KEYS index of the hash, field, expected ("" = absent), new value,
         n, then n times: task id, created_at ("" = no longer in flight),
         n, then n times: bucket,
         w, n, then n times: w values, the names and values of an entry's fields
Returns  {"applied", events appended} | {"fenced"} | {"conflict", field}
Effects  All or nothing but for the scope's place in the set: every argument and every other key's type is
         checked before the first write, because an error does not roll back what a script has written.
]]
local at = 2
local function take()
  at = at + 1
  local value = ARGV[at]
  if value == nil then error('commit: too few arguments') end
  return value
end
local function many(width)
  local n = tonumber(take())
  if n == nil or n < 0 or n % 1 ~= 0 then error('commit: a count is not a whole number') end
  local rows = {}
  for i = 1, n do
    local row = {}
    for j = 1, width do row[j] = take() end
    rows[i] = row
  end
  return rows
end

local function whole(text) return string.find(text, '^%d+$') ~= nil end

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return {'fenced'} end

local records, flight, buckets = many(4), many(2), many(1)
local width = tonumber(take())
if width == nil or width < 2 or width % 2 ~= 0 then error('commit: fields come as names and values') end
local events = many(width)
if at ~= #ARGV then error('commit: too many arguments') end
for _, row in ipairs(flight) do
  if row[2] ~= '' and not whole(row[2]) then error('commit: created_at is not a whole number') end
end
for _, row in ipairs(buckets) do
  if not whole(row[1]) then error('commit: a bucket is not a whole number') end
end
redis.call('XLEN', KEYS[2])
redis.call('ZCARD', KEYS[3])
redis.call('ZCARD', KEYS[4])
for _, row in ipairs(records) do
  local hash = KEYS[tonumber(row[1])]
  if hash == nil then error('commit: no such hash') end
  if (redis.call('HGET', hash, row[2]) or '') ~= row[3] then return {'conflict', row[2]} end
end

-- First what may still fail. The scope may stand in the set alone, as it does before its first cycle. A stream may
-- have been brought to its last possible id by another program.
if #records + #flight > 0 then redis.call('SADD', KEYS[5], ARGV[2]) end
for _, fields in ipairs(events) do redis.call('XADD', KEYS[2], '*', unpack(fields)) end
for _, row in ipairs(records) do redis.call('HSET', KEYS[tonumber(row[1])], row[2], row[4]) end
for _, row in ipairs(flight) do
  if row[2] == '' then
    redis.call('ZREM', KEYS[3], row[1])
  else
    redis.call('ZADD', KEYS[3], row[2], row[1])
  end
end
for _, row in ipairs(buckets) do redis.call('ZADD', KEYS[4], row[1], row[1]) end
return {'applied', #events}
