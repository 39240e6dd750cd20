-- A campaign's live state, changed only by the functions below, each one atomic, on Redis time.
-- storage/ledger.py says what every key holds; a call names one function and its arguments.
local prefix, epoch = KEYS[1], KEYS[2]
local meta, done, tokens = prefix .. 'meta', prefix .. 'done', prefix .. 'tokens'
local leases, again, aside = prefix .. 'leases', prefix .. 'again', prefix .. 'aside'
local ready = prefix .. 'ready'
local errors, losses, parked = prefix .. 'errors', prefix .. 'losses', prefix .. 'parked'
local analysed, flagged = prefix .. 'analysed', prefix .. 'flagged'
local stage, dropped, waiting = prefix .. 'stage', prefix .. 'dropped', prefix .. 'waiting'

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local layout = redis.call('HMGET', meta, 'per_prompt', 'ends')
local per_prompt = tonumber(layout[1])

local function numbers_in(text)
  local numbers = {}
  for number in string.gmatch(text or '', '%d+') do numbers[#numbers + 1] = tonumber(number) end
  return numbers
end

-- How many units are open in each stage; none where there is only the one stage that has all.
local ends = numbers_in(layout[2])

local function prompt_of(index)
  return math.floor(index / per_prompt)
end

-- How many units of a prompt are open, and whether the others were dropped.
local function opened(prompt)
  if #ends == 0 then return per_prompt, false end
  local number = tonumber(redis.call('HGET', stage, prompt) or 1)
  return ends[number], redis.call('GETBIT', dropped, prompt) == 1
end

local function is_open(index)
  return index - prompt_of(index) * per_prompt < opened(prompt_of(index))
end

local function is_settled(index)
  return redis.call('GETBIT', done, index) == 1 or redis.call('SISMEMBER', parked, index) == 1
end

-- What is neither settled nor open waits for a stage, or was dropped with its prompt.
local function count_unopened(prompt, change)
  local open, is_dropped = opened(prompt)
  redis.call('HINCRBY', meta, is_dropped and 'dropped' or 'held', change)
end

-- How many units of a prompt, from so many on, are not settled.
local function unsettled(prompt, first, last)
  local count = 0
  for unit = prompt * per_prompt + first, prompt * per_prompt + last - 1 do
    if not is_settled(unit) then count = count + 1 end
  end
  return count
end

local function is_pending(index)
  return not is_settled(index) and redis.call('HEXISTS', tokens, index) == 0 and is_open(index)
end

local function forget(index)
  redis.call('HDEL', tokens, index)
  redis.call('ZREM', leases, index)
end

local function hand_back(index)
  forget(index)
  redis.call('RPUSH', again, index)
end

local function leave_ready(prompt)
  redis.call('SREM', waiting, prompt)
  return redis.call('ZREM', ready, prompt)
end

local function forget_result(prompt)
  if redis.call('SETBIT', analysed, prompt, 0) == 1 then
    redis.call('HINCRBY', meta, 'analysed', -1)
  end
end

-- Whether the open units of a prompt are settled. They are issued in order, so that of many the last
-- ones tell it first.
local function is_settled_so_far(prompt)
  for unit = prompt * per_prompt + opened(prompt) - 1, prompt * per_prompt, -1 do
    if not is_settled(unit) then return false end
  end
  return true
end

-- A prompt that was dropped is decided anew.
local function undrop(prompt)
  local open, is_dropped = opened(prompt)
  if not is_dropped then return end
  local rest = unsettled(prompt, open, per_prompt)
  redis.call('SETBIT', dropped, prompt, 0)
  redis.call('HINCRBY', meta, 'dropped', -rest)
  redis.call('HINCRBY', meta, 'held', rest)
end

local function make_ready_if_settled(prompt)
  if not is_settled_so_far(prompt) then return end
  undrop(prompt)
  forget_result(prompt)
  redis.call('ZADD', ready, 0, prompt)
  redis.call('SREM', waiting, prompt)
end

-- For a unit that is not settled any more.
local function open_again(index)
  local prompt = prompt_of(index)
  leave_ready(prompt)
  forget_result(prompt)
  if is_open(index) then
    undrop(prompt)
    hand_back(index)
  else
    count_unopened(prompt, 1)
    undrop(prompt)
    make_ready_if_settled(prompt)
  end
end

local function unpark(index)
  if redis.call('SREM', parked, index) == 0 then return 0 end
  redis.call('HINCRBY', meta, 'parked', -1)
  open_again(index)
  return 1
end

-- Which load a unit is of, told by `loads`, the number of the load of each unit of a prompt; nil where
-- nobody tells, since all are of one.
local function load_teller(loads)
  local numbers = numbers_in(loads)
  return function(index) return numbers[index - prompt_of(index) * per_prompt + 1] end
end

-- Units that came back wait for the issue of their own load, in the order in which they are met here.
local TURNS = 1e9

local function put_aside(index, load)
  local turn = redis.call('HINCRBY', meta, 'turn', 1)
  redis.call('ZADD', aside, 'NX', load * TURNS + turn % TURNS, index)
end

local function take_aside(load)
  local last = string.format('(%.0f', (load + 1) * TURNS)
  local index = redis.call('ZRANGEBYSCORE', aside, load * TURNS, last, 'LIMIT', 0, 1)[1]
  if index then redis.call('ZREM', aside, index) end
  return index
end

local calls = {}

function calls.set_state(state)
  if redis.call('EXISTS', meta) == 1 then redis.call('HSET', meta, 'state', state) end
  return 1
end

-- The token tells when the units were issued, so that their claims know how long they waited.
-- What comes again comes first, and so do the units of a prompt that goes on. With `loads`, only units
-- of the load of this number are issued; each load has a cursor of its own.
function calls.issue(count, token, load, loads)
  count, token = tonumber(count), token .. ':' .. now
  if redis.call('HGET', meta, 'state') ~= 'active' then return {token, {}} end
  local field = load and 'cursor:' .. load or 'cursor'
  load = tonumber(load)
  local load_of, issued, others = load_teller(loads), {}, 0
  local function issue_if_pending(index)
    if is_pending(index) then
      redis.call('HSET', tokens, index, token)
      issued[#issued + 1] = tonumber(index)
    end
  end
  while #issued < count and others < 20000 do
    local index = load and take_aside(load) or redis.call('LPOP', again)
    if not index then break end
    if load_of(index) == load then
      issue_if_pending(index)
    else
      put_aside(index, load_of(index))
      others = others + 1
    end
  end
  local function is_under_way()
    if not load then return redis.call('HLEN', tokens) > 0 end
    for _, index in ipairs(redis.call('HKEYS', tokens)) do
      if load_of(index) == load then return true end
    end
    return false
  end
  local sizes = redis.call('HMGET', meta, 'units', field, 'done', 'parked', 'held', 'dropped')
  local units, cursor = tonumber(sizes[1]), tonumber(sizes[2] or 0)
  -- What a version without stages restored has neither of the last two.
  local settled = sizes[3] + sizes[4] + (sizes[5] or 0) + (sizes[6] or 0)
  -- The cursor wraps only when nothing else is under way, and so finds what any crash left out.
  if cursor >= units and #issued == 0 and not is_under_way() and settled < units then
    cursor = 0
  end
  local last = math.min(units, cursor + 20000)
  while #issued < count and cursor < last do
    if is_open(cursor) then
      if load_of(cursor) == load then issue_if_pending(cursor) end
      cursor = cursor + 1
    else
      cursor = (prompt_of(cursor) + 1) * per_prompt
    end
  end
  redis.call('HSET', meta, field, cursor)
  return {token, issued}
end

function calls.claim(index, token, lease)
  local state = redis.call('HGET', meta, 'state')
  if not state then return {'stale', 0} end
  if redis.call('GETBIT', done, index) == 1 then return {'done', 0} end
  if redis.call('HGET', tokens, index) ~= token then return {'stale', 0} end
  if redis.call('ZSCORE', leases, index) then return {'stale', 0} end
  if state ~= 'active' then
    hand_back(index)
    return {state, 0}
  end
  redis.call('ZADD', leases, now + lease, index)
  return {'granted', now - (tonumber(string.match(token, ':(%d+)$')) or now)}
end

function calls.renew(lease, ...)
  local claims, held = {...}, 0
  for i = 1, #claims, 2 do
    local index, token = claims[i], claims[i + 1]
    if redis.call('HGET', tokens, index) == token then
      redis.call('ZADD', leases, now + lease, index)
      held = held + 1
    end
  end
  return held
end

-- Only news makes a prompt ready: a repeated call must not have it analysed again.
function calls.complete(index)
  if redis.call('EXISTS', meta) == 0 then return 0 end
  local was_settled = is_settled(index)
  local news = redis.call('SETBIT', done, index, 1) == 0
  if news then redis.call('HINCRBY', meta, 'done', 1) end
  if redis.call('SREM', parked, index) == 1 then redis.call('HINCRBY', meta, 'parked', -1) end
  forget(index)
  redis.call('HDEL', errors, index)
  redis.call('HDEL', losses, index)
  if is_open(index) then
    if news then make_ready_if_settled(prompt_of(index)) end
  elseif not was_settled then
    count_unopened(prompt_of(index), -1)
  end
  return 1
end

function calls.release(index, token)
  if redis.call('HGET', tokens, index) == token then hand_back(index) end
  return 1
end

-- At the limit the lease is kept: whoever asked parks the unit, or the reaper finds it.
function calls.fail(index, token, limit)
  if redis.call('HGET', tokens, index) ~= token then return 0 end
  local count = redis.call('HINCRBY', errors, index, 1)
  if count < tonumber(limit) then hand_back(index) end
  return count
end

function calls.park(index)
  if redis.call('EXISTS', meta) == 0 or redis.call('GETBIT', done, index) == 1 then return 0 end
  forget(index)
  if redis.call('SADD', parked, index) == 0 then return 0 end
  redis.call('HINCRBY', meta, 'parked', 1)
  if is_open(index) then
    make_ready_if_settled(prompt_of(index))
  else
    count_unopened(prompt_of(index), -1)
  end
  return 1
end

function calls.reap(limit, lease)
  local expired, poisonous = 0, {}
  for _, index in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', now, 'LIMIT', 0, 1000)) do
    expired = expired + 1
    if redis.call('HINCRBY', losses, index, 1) < tonumber(limit) then
      hand_back(index)
    else
      redis.call('ZADD', leases, now + lease, index)
      poisonous[#poisonous + 1] = tonumber(index)
    end
  end
  return {expired, poisonous}
end

function calls.reissue_queued(load, loads)
  local count, load_of = 0, load_teller(loads)
  for _, index in ipairs(redis.call('HKEYS', tokens)) do
    if load_of(index) == tonumber(load) and not redis.call('ZSCORE', leases, index) then
      hand_back(index)
      count = count + 1
    end
  end
  return count
end

function calls.reopen(index)
  if redis.call('EXISTS', meta) == 0 then return 0 end
  local was_settled = is_settled(index)
  if redis.call('SETBIT', done, index, 0) == 1 then redis.call('HINCRBY', meta, 'done', -1) end
  if redis.call('SREM', parked, index) == 1 then redis.call('HINCRBY', meta, 'parked', -1) end
  redis.call('HDEL', errors, index)
  redis.call('HDEL', losses, index)
  if was_settled or is_open(index) then open_again(index) end
  return 1
end

function calls.retry(index)
  if unpark(index) == 0 then return 0 end
  redis.call('HDEL', errors, index)
  redis.call('HDEL', losses, index)
  return 1
end

function calls.take_back(index, count)
  local left = (tonumber(redis.call('HGET', errors, index)) or 0) - count
  if left > 0 then
    redis.call('HSET', errors, index, left)
  else
    redis.call('HDEL', errors, index)
  end
  return unpark(index)
end

function calls.take_ready(count, lease)
  if redis.call('HGET', meta, 'state') ~= 'active' then return {} end
  local taken = redis.call('ZRANGEBYSCORE', ready, '-inf', now, 'LIMIT', 0, count)
  for i, prompt in ipairs(taken) do
    redis.call('ZADD', ready, now + lease, prompt)
    redis.call('SREM', waiting, prompt)
    taken[i] = tonumber(prompt)
  end
  return taken
end

function calls.postpone(lease, ...)
  for _, prompt in ipairs({...}) do redis.call('ZADD', ready, 'XX', now + lease, prompt) end
  return 1
end

function calls.put_back(prompt, lease, trouble)
  redis.call('ZADD', ready, 'XX', now + lease, prompt)
  if redis.call('EXISTS', meta) == 1 then redis.call('HSET', meta, 'trouble', trouble) end
  return 1
end

-- Prompts that can be decided only with others of their cohort.
function calls.wait(lease, ...)
  for _, prompt in ipairs({...}) do
    if redis.call('ZSCORE', ready, prompt) then
      redis.call('ZADD', ready, now + lease, prompt)
      redis.call('SADD', waiting, prompt)
    end
  end
  return 1
end

function calls.end_wait(first, last)
  for prompt = tonumber(first), tonumber(last) do
    if redis.call('SREM', waiting, prompt) == 1 then redis.call('ZADD', ready, 'XX', 0, prompt) end
  end
  return 1
end

-- Whether all that these prompts have up to a stage is settled, or they were dropped.
function calls.cohort_is_settled(first, last, number)
  local wanted = ends[tonumber(number)]
  if not wanted then return 0 end
  for prompt = tonumber(first), tonumber(last) do
    local open, is_dropped = opened(prompt)
    if not is_dropped and (open < wanted or unsettled(prompt, 0, wanted) > 0) then return 0 end
  end
  return 1
end

-- The prompt goes on; what is opened is issued before what no prompt had before.
function calls.open(prompt, number)
  local before, is_dropped = opened(prompt)
  local after = ends[tonumber(number)]
  if is_dropped or after == nil or after <= before then return 0 end
  redis.call('HINCRBY', meta, 'held', -unsettled(prompt, before, after))
  redis.call('HSET', stage, prompt, number)
  for unit = prompt * per_prompt + before, prompt * per_prompt + after - 1 do
    if not is_settled(unit) then redis.call('RPUSH', again, unit) end
  end
  leave_ready(prompt)
  make_ready_if_settled(prompt)
  return 1
end

local function drop(prompt, number)
  local first = ends[tonumber(number)]
  local open = opened(prompt)
  local rest = unsettled(prompt, first, per_prompt)
  redis.call('HINCRBY', meta, 'held', -unsettled(prompt, open, per_prompt))
  redis.call('HINCRBY', meta, 'dropped', rest)
  redis.call('HSET', stage, prompt, number)
  redis.call('SETBIT', dropped, prompt, 1)
end

-- `dropped_after` is the number of a stage, 0 where the prompt has all its images.
function calls.analysed(prompt, is_flagged, dropped_after)
  if leave_ready(prompt) == 1 then
    if tonumber(dropped_after) > 0 then drop(prompt, dropped_after) end
    redis.call('SETBIT', analysed, prompt, 1)
    redis.call('HINCRBY', meta, 'analysed', 1)
    redis.call(is_flagged == '1' and 'SADD' or 'SREM', flagged, prompt)
    redis.call('HDEL', meta, 'trouble')
  end
  return 1
end

if redis.call('EXISTS', epoch) == 0 then return redis.error_reply('NOEPOCH rebuild first') end
local name = table.remove(ARGV, 1)
return calls[name](unpack(ARGV))
