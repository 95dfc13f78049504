"""`AnswerStore` on Redis or Valkey: one key a call, which expires by itself.

    hm:call:<namespace>:<call>   hash: request (its digest), holder and until (of the claim), status and body (the answer)

Namespaces are percent-encoded, as everywhere in this tier. A claim is one script, so that of several attempts at once one
gets it; it is taken over when its lease has run out, or when its holder is known to be gone.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final
from urllib.parse import quote
from uuid import UUID

from app.breakers import Guard
from app.ports import Answer, Call, Claim
from app.working.calls import Call as ScriptCall
from app.working.calls import calling, guard_of, run
from app.working.client import Client
from app.working.scripts import Script

_MILLISECOND: Final = timedelta(milliseconds=1)

_CLAIM: Final = Script("""
-- KEYS entry   ARGV request holder lease_ms ttl_ms process ('' when others may be at work)
-- Answers 'ours', 'running', 'other-request', 'answer-forgotten', or {status, body}.
local request, holder, until_ms, status, body =
  unpack(redis.call('HMGET', KEYS[1], 'request', 'holder', 'until', 'status', 'body'))
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if request then
  if request ~= ARGV[1] then return 'other-request' end
  if status then return body and {status, body} or 'answer-forgotten' end
  local is_gone = ARGV[5] ~= '' and string.match(holder, '^[^ ]+') ~= ARGV[5]
  if tonumber(until_ms) > now and not is_gone then return 'running' end
end
redis.call('HSET', KEYS[1], 'request', ARGV[1], 'holder', ARGV[2], 'until', string.format('%.0f', now + ARGV[3]))
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 'ours'
""")

_REMEMBER: Final = Script("""
-- KEYS entry   ARGV holder status body ttl_ms
if redis.call('HGET', KEYS[1], 'holder') ~= ARGV[1] then return end
redis.call('HSET', KEYS[1], 'status', ARGV[2], 'body', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
""")

_RELEASE: Final = Script("""
-- KEYS entry   ARGV holder
local holder, status = unpack(redis.call('HMGET', KEYS[1], 'holder', 'status'))
if holder == ARGV[1] and not status then redis.call('DEL', KEYS[1]) end
""")


class RedisAnswerStore:
    """The client is the caller's to close. `process` names this one.

    `is_alone` says that no other process uses this Redis, so that a claim of another one was left by it when it died.
    """

    def __init__(self, client: Client, *, process: UUID, is_alone: bool = False, guard: Guard | None = None) -> None:
        self._client = client
        self._guard = guard or guard_of(client)
        self._process = process
        self._is_alone = is_alone

    async def claim(self, call: Call, *, lease: timedelta, ttl: timedelta) -> Answer | Claim:
        alone = str(self._process) if self._is_alone else ""
        arguments = (call.request, self._holder(call), lease // _MILLISECOND, ttl // _MILLISECOND, alone)
        async with calling(self._guard, "claim_call"):
            found = await run(self._client, ScriptCall(_CLAIM, (_key(call),), arguments))
        return Answer(int(found[0]), found[1]) if isinstance(found, list) else Claim(found.decode())

    async def remember(self, call: Call, answer: Answer, *, ttl: timedelta) -> None:
        arguments = (self._holder(call), answer.status, answer.body, ttl // _MILLISECOND)
        async with calling(self._guard, "remember_call"):
            await run(self._client, ScriptCall(_REMEMBER, (_key(call),), arguments))

    async def release(self, call: Call) -> None:
        async with calling(self._guard, "release_call"):
            await run(self._client, ScriptCall(_RELEASE, (_key(call),), (self._holder(call),)))

    async def forget(self, namespace: str) -> int:
        async with calling(self._guard, "forget_calls"):
            keys = self._client.scan_iter(match=f"hm:call:{_encode(namespace)}:*", count=1000)
            return sum([int(await self._client.hdel(key, "body")) async for key in keys])

    def _holder(self, call: Call) -> str:
        return f"{self._process} {call.attempt}"


def _key(call: Call) -> str:
    return f"hm:call:{_encode(call.namespace)}:{call.id}"


def _encode(namespace: str) -> str:
    return quote(namespace, safe="")
