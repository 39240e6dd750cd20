-- Which load a worker serves. storage/workforce.py says what every key holds.
local beats, serves, demand, later, crews = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local worker, lease = ARGV[1], tonumber(ARGV[2])
local known = {}
for i = 3, #ARGV do known[ARGV[i]] = true end
-- Of a load of a later kind, the kind stands before a dash.
local function can_serve(load)
  local kind = string.match(load, '^(%l+)%-')
  return not kind or known[kind]
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- Counting all workers at every beat would cost the square of their number: they are counted once
-- a second, and those that move in between move in the count.
if redis.call('EXISTS', crews) == 0 then
  local counted = {[''] = 0}
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', beats, now - lease, '+inf')) do
    local load = redis.call('HGET', serves, name)
    if load then counted[load] = (counted[load] or 0) + 1 end
  end
  for load, count in pairs(counted) do redis.call('HSET', crews, load, count) end
  redis.call('PEXPIRE', crews, 1000)
end

-- The share of a load with this worker on it: workers for its weight. Priority comes first.
local own = redis.call('HGET', serves, worker) or ''
local wanted = redis.call('HGETALL', demand)
for _, said in ipairs(redis.call('HGETALL', later)) do table.insert(wanted, said) end
local best, highest, least
for i = 1, #wanted, 2 do
  local load = wanted[i]
  local priority, weight, waiting = string.match(wanted[i + 1], '(%S+) (%S+) (%d+)')
  priority = tonumber(priority)
  local here = tonumber(redis.call('HGET', crews, load) or 0)
  if load == own then here = math.max(here - 1, 0) end
  if can_serve(load) and (load == own or here < tonumber(waiting)) then
    local share = (here + 1) / tonumber(weight)
    local preferred = load == own or (best ~= own and load < (best or '~'))
    if not best or priority > highest
      or (priority == highest and (share < least or (share == least and preferred))) then
      best, highest, least = load, priority, share
    end
  end
end
best = best or (can_serve(own) and own or '')
if best ~= own then
  if own ~= '' then redis.call('HINCRBY', crews, own, -1) end
  redis.call('HINCRBY', crews, best, 1)
end
redis.call('HSET', serves, worker, best)
return best
