"""The in-memory twin of `AnswerStore`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from app.ports import Answer, Call, Claim, Clock
from app.records import utc_now


@dataclass(frozen=True, slots=True)
class _Entry:
    """A call as it is known. `answer` has no body once it was forgotten."""

    call: Call
    leased_until: datetime
    expires_at: datetime
    status: int | None = None
    body: bytes | None = None


class InMemoryAnswerStore:
    """Remembers for as long as the object lives; `clock` decides what has expired."""

    def __init__(self, clock: Clock = utc_now) -> None:
        self._clock = clock
        self._entries: dict[tuple[str, UUID], _Entry] = {}

    async def claim(self, call: Call, *, lease: timedelta, ttl: timedelta) -> Answer | Claim:
        now = self._clock()
        known = self._known(call)
        if known is not None and (standing := _standing(known, call, now)) is not None:
            return standing
        self._entries[call.namespace, call.id] = _Entry(call, now + lease, now + ttl)
        return Claim.OURS

    async def remember(self, call: Call, answer: Answer, *, ttl: timedelta) -> None:
        known = self._known(call)
        if known is not None and known.call == call:
            expires_at = self._clock() + ttl
            answered = replace(known, status=answer.status, body=answer.body, expires_at=expires_at)
            self._entries[call.namespace, call.id] = answered

    async def release(self, call: Call) -> None:
        known = self._known(call)
        if known is not None and known.call == call and known.status is None:
            del self._entries[call.namespace, call.id]

    async def forget(self, namespace: str) -> int:
        held = {key: e for key, e in self._entries.items() if key[0] == namespace and e.body is not None}
        self._entries.update({key: replace(entry, body=None) for key, entry in held.items()})
        return len(held)

    def _known(self, call: Call) -> _Entry | None:
        entry = self._entries.get((call.namespace, call.id))
        return entry if entry is not None and entry.expires_at > self._clock() else None


def _standing(known: _Entry, call: Call, now: datetime) -> Answer | Claim | None:
    """What the entry answers to this call; None when it may be taken over."""
    if known.call.request != call.request:
        return Claim.OTHER_REQUEST
    if known.status is not None:
        return Claim.ANSWER_FORGOTTEN if known.body is None else Answer(known.status, known.body)
    return Claim.RUNNING if known.leased_until > now else None
