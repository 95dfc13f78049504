"""Answers to calls that were named, kept for a repetition."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Protocol
from uuid import UUID


class Claim(StrEnum):
    """What a call finds under its key when it has no answer to give again."""

    OURS = "ours"
    RUNNING = "running"
    OTHER_REQUEST = "other-request"
    ANSWER_FORGOTTEN = "answer-forgotten"


@dataclass(frozen=True, slots=True)
class Call:
    """One attempt at a call that its caller named. `id` is derived from caller, namespace and key; `request` is a
    digest of what was asked; `attempt` tells this attempt from others at the same call."""

    namespace: str
    id: UUID
    request: str
    attempt: UUID


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call was answered with. `status` and `body` mean to the door what the door made of them."""

    status: int
    body: bytes


class AnswerStore(Protocol):
    """Remembers what named calls were answered with. Every method may raise `TierUnavailable("working", …)`."""

    async def claim(self, call: Call, *, lease: timedelta, ttl: timedelta) -> Answer | Claim:
        """The answer under the call's id, or who may make it: of several attempts at once, one gets `OURS`.

        A claim that was neither remembered nor released within `lease`, or whose process is known to be gone, may be
        taken over. The key is remembered for `ttl`.
        """
        ...

    async def remember(self, call: Call, answer: Answer, *, ttl: timedelta) -> None:
        """Keep the answer for `ttl`, unless another attempt has taken the claim over."""
        ...

    async def release(self, call: Call) -> None:
        """Make the key free again, unless another attempt has taken the claim over or answered."""
        ...

    async def forget(self, namespace: str) -> int:
        """Drop the bodies of all answers in the namespace; returns how many. The calls stay known as answered."""
        ...
