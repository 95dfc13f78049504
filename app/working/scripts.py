"""The Lua scripts: whatever touches more than one key of a session does it in one of these, atomically.

A session's `meta` hash holds

    last         the counter: the sequence given to the newest message
    settled      everything up to it is in Postgres
    released     everything up to it is in the vector index
    base         messages up to it may be missing here
    at           when the newest append happened, in microseconds, rising with every append
    unarchived   there when a state was saved that is not in Postgres yet
    version      of the state; one that the release before this one saved has none, and counts as 1

Numbers leave Lua through `text`, because its own conversion rounds at 14 digits.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script under the name the server knows it by."""

    source: str
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()
        object.__setattr__(self, "sha", digest)


_SHARED: Final = """
local function text(number) return string.format('%.0f', number) end

local function numbers(meta)
  local raw = redis.call('HMGET', meta, 'last', 'settled', 'released', 'base')
  return tonumber(raw[1]), tonumber(raw[2]), tonumber(raw[3]), tonumber(raw[4])
end

local function is_unarchived(meta) return redis.call('HEXISTS', meta, 'unarchived') == 1 end

local function state_version(meta, state)
  return tonumber(redis.call('HGET', meta, 'version')) or redis.call('EXISTS', state) == 1 and 1 or nil
end
"""

_TRIM: Final = """
local function trim(messages, meta, ids, through)
  if through < 1 then return end
  local _, _, _, base = numbers(meta)
  while true do
    local gone = redis.call('XRANGE', messages, '-', text(through), 'COUNT', 1000)
    if #gone == 0 then break end
    for _, entry in ipairs(gone) do redis.call('HDEL', ids, entry[2][2]) end
    redis.call('XTRIM', messages, 'MINID', text(tonumber(string.match(gone[#gone][1], '^%d+')) + 1))
    base = math.max(base, through)
  end
  redis.call('HSET', meta, 'base', text(base))
end

local function now_microseconds()
  local now = redis.call('TIME')
  return text(now[1] * 1000000 + now[2])
end

-- Drops what may go and puts the session where it waits; answers whether it is drained, and whether it is released.
local function finish(keys, member, retain)
  local messages, meta, ids, _, dirty, unreleased = unpack(keys)
  local last, settled, released = numbers(meta)
  if last then trim(messages, meta, ids, math.min(settled, released, last - retain)) end
  if last and released < settled then
    redis.call('ZADD', unreleased, 'NX', redis.call('ZSCORE', dirty, member) or now_microseconds(), member)
  else
    redis.call('ZREM', unreleased, member)
  end
  local is_drained = not is_unarchived(meta) and (not last or last <= settled)
  if is_drained then redis.call('ZREM', dirty, member) end
  return is_drained, last and last <= released
end

-- Keeps the session's index entry if it is not released; else the caller may remove that of the append at this time.
local function appended_at(meta, is_released) return is_released and redis.call('HGET', meta, 'at') or false end
"""

APPEND: Final = Script(
    _SHARED
    + """
-- KEYS messages meta ids state dirty unreleased   ARGV floor ('' for none) at member, then for each message: id digest bytes
-- Answers {'cold'}, {'conflict', position} or {'ok', at, sequence…}; at is '' when nothing waits for the index.
local messages, meta, ids, state, dirty = unpack(KEYS)
local floor, at, member = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local last, settled, released = numbers(meta)
if not last and floor == '' then return {'cold'} end

local known = {}
for i = 4, #ARGV, 3 do
  local id, digest = ARGV[i], ARGV[i + 1]
  local buffered = known[id] or redis.call('HGET', ids, id)
  if buffered and string.match(buffered, ':(.*)$') ~= digest then return {'conflict', (i - 4) / 3} end
  known[id] = buffered or (':' .. digest)
end

if not last then
  last, settled, released = tonumber(floor), tonumber(floor), tonumber(floor)
  redis.call('HSET', meta, 'settled', floor, 'released', floor, 'base', floor)
end
local before = tonumber(redis.call('HGET', meta, 'at'))
if before and before >= at then at = before + 1 end

local answer, first = {'ok', ''}, last
for i = 4, #ARGV, 3 do
  local id = ARGV[i]
  local sequence = string.match(known[id], '^%d+')
  if not sequence then
    last = last + 1
    sequence = text(last)
    redis.call('XADD', messages, sequence .. '-0', 'id', id, 'm', ARGV[i + 2])
    known[id] = sequence .. known[id]
    redis.call('HSET', ids, id, known[id])
  end
  answer[#answer + 1] = sequence
end
redis.call('HSET', meta, 'last', text(last))
if last > first then
  redis.call('HSET', meta, 'at', text(at))
  redis.call('ZADD', dirty, 'NX', ARGV[2], member)
  for _, key in ipairs({messages, meta, ids, state}) do redis.call('PERSIST', key) end
end
if last > released then answer[2] = redis.call('HGET', meta, 'at') end
return answer
"""
)

SETTLE: Final = Script(
    _SHARED
    + _TRIM
    + """
-- KEYS messages meta ids state dirty unreleased   ARGV through retain ttl_ms version ('' for none) member stored
-- Answers the time of the newest append if nothing waits for the index any more.
local messages, meta, ids, state = unpack(KEYS)
local through, stored = tonumber(ARGV[1]), tonumber(ARGV[6])
local last, settled = numbers(meta)
if last then
  settled = math.max(settled, math.min(through, last))
  local floor = math.max(through, stored)
  -- The counter is raised only when nothing undrained lies below: it would be taken for settled.
  if settled >= last and floor > last then
    settled = floor
    redis.call('HSET', meta, 'last', text(floor), 'base', text(floor))
  end
  redis.call('HSET', meta, 'settled', text(settled))
end
if ARGV[4] ~= '' and state_version(meta, state) == tonumber(ARGV[4]) then redis.call('HDEL', meta, 'unarchived') end

local is_drained, is_released = finish(KEYS, ARGV[5], tonumber(ARGV[2]))
if is_drained then
  local now = redis.call('TIME')
  local expires_at = text(now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[3])
  for _, key in ipairs({messages, meta, ids, state}) do redis.call('PEXPIREAT', key, expires_at) end
end
return appended_at(meta, is_released)
"""
)

RELEASE: Final = Script(
    _SHARED
    + _TRIM
    + """
-- KEYS messages meta ids state dirty unreleased   ARGV through retain member
-- Answers whether this released the last message, and when the newest append was if nothing waits any more.
local meta = KEYS[2]
local last, _, released = numbers(meta)
local was_released = not last or last <= released
if last then
  redis.call('HSET', meta, 'released', text(math.min(last, math.max(released, tonumber(ARGV[1])))))
end
local _, is_released = finish(KEYS, ARGV[3], tonumber(ARGV[2]))
return {is_released and not was_released and 1 or 0, appended_at(meta, is_released)}
"""
)

SAVE_STATE: Final = Script(
    _SHARED
    + """
-- KEYS messages meta ids state dirty unreleased   ARGV at member state expected ('' for any) floor ('' for none)
-- Answers {'unknown'}, {'mismatch', version} or {'ok', version}.
local known, floor = state_version(KEYS[2], KEYS[4]), tonumber(ARGV[5])
if not known and not floor then return {'unknown'} end
local current = math.max(known or 0, floor or 0)
if ARGV[4] ~= '' and tonumber(ARGV[4]) ~= current then return {'mismatch', text(current)} end
redis.call('SET', KEYS[4], ARGV[3])
redis.call('HSET', KEYS[2], 'unarchived', 1, 'version', text(current + 1))
redis.call('ZADD', KEYS[5], 'NX', ARGV[1], ARGV[2])
for i = 1, 4 do redis.call('PERSIST', KEYS[i]) end
return {'ok', text(current + 1)}
"""
)

LOAD_STATE: Final = Script(
    _SHARED
    + """
-- KEYS meta state
-- Answers the version and the state, nothing where there is none.
local state = redis.call('GET', KEYS[2])
return state and {text(state_version(KEYS[1], KEYS[2])), state} or false
"""
)

FORGET: Final = Script("""
-- KEYS messages meta ids state dirty unreleased scratch   ARGV member
-- Answers how many messages there were, and the time of the newest append.
local count, at = redis.call('XLEN', KEYS[1]), redis.call('HGET', KEYS[2], 'at')
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[7])
redis.call('ZREM', KEYS[5], ARGV[1])
redis.call('ZREM', KEYS[6], ARGV[1])
return {count, at}
""")

RECENT: Final = Script("""
-- KEYS messages meta   ARGV limit
return {redis.call('HGET', KEYS[2], 'base'), redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', ARGV[1])}
""")

WRITE_SCRATCH: Final = Script("""
-- KEYS scratch   ARGV key value ttl_ms
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
""")

UNLIST: Final = Script("""
-- KEYS index   ARGV session at: removes the session unless it was appended to after `at`
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if score and tonumber(score) <= tonumber(ARGV[2]) then redis.call('ZREM', KEYS[1], ARGV[1]) end
""")

LOG_EPISODE: Final = Script("""
-- KEYS episodes ids   ARGV member digest bytes: answers whether it is there now, under this digest
local known = redis.call('HGET', KEYS[2], ARGV[1])
if known then return string.match(known, ':(.*)$') == ARGV[2] and 1 or 0 end
local entry = redis.call('XADD', KEYS[1], '*', 'm', ARGV[1], 'e', ARGV[3])
redis.call('HSET', KEYS[2], ARGV[1], entry .. ':' .. ARGV[2])
return 1
""")

FIND_EPISODE: Final = Script("""
-- KEYS episodes ids   ARGV member
local known = redis.call('HGET', KEYS[2], ARGV[1])
if not known then return false end
local entry = string.match(known, '^[^:]+')
return redis.call('XRANGE', KEYS[1], entry, entry)[1][2][4]
""")

SETTLE_EPISODES: Final = Script("""
-- KEYS episodes ids   ARGV member…: answers how many there were
local count = 0
for _, member in ipairs(ARGV) do
  local known = redis.call('HGET', KEYS[2], member)
  if known then
    redis.call('XDEL', KEYS[1], string.match(known, '^[^:]+'))
    redis.call('HDEL', KEYS[2], member)
    count = count + 1
  end
end
return count
""")
