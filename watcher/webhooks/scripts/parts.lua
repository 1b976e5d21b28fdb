-- Part of other scripts: one command for many members. A call costs more than what it does with one of them.

local PART = 1000 -- of what is unpacked at once; even, so that a member stays with its score

local function in_parts(command, key, members)
  local done = 0
  for first = 1, #members, PART do
    done = done + redis.call(command, key, unpack(members, first, math.min(first + PART - 1, #members)))
  end
  return done
end
