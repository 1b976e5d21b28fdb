--[[
Purpose  Forget the records of tasks created before a bucket, except where a task is still in flight, and note
         up to where records may now be missing.
KEYS     1 lease, 2 in-flight index, 3 bucket index, 4 the scope's hash, 5… the hashes of the buckets to forget
ARGV     1 nonce, 2 width of a bucket in microseconds, 3… the buckets, in the order of their hashes
Returns  number of buckets forgotten, or -1 when fenced
Effects  UNLINK, ZREM, HSET
]]
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
local width = tonumber(ARGV[2])
if width == nil then error('forget: the width is not a number') end
local forgotten = 0
for i = 3, #ARGV do
  local bucket = tonumber(ARGV[i])
  if bucket == nil then error('forget: a bucket is not a number') end
  local low, high = string.format('%.0f', bucket * width), string.format('%.0f', (bucket + 1) * width)
  if redis.call('ZCOUNT', KEYS[2], low, '(' .. high) == 0 then
    redis.call('UNLINK', KEYS[i + 2])
    redis.call('ZREM', KEYS[3], ARGV[i])
    forgotten = forgotten + 1
  end
end
local upto = (tonumber(ARGV[#ARGV]) + 1) * width
if forgotten > 0 and upto > tonumber(redis.call('HGET', KEYS[4], 'forgotten') or 0) then
  redis.call('HSET', KEYS[4], 'forgotten', string.format('%.0f', upto))
end
return forgotten
