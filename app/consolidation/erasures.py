"""Carrying out what the buffers are owed: erasures of what was forgotten or deleted, Redis having been away or not asked."""

from __future__ import annotations

from typing import Final

from app.ports import AnswerStore, EpisodicMemory, Erasure, WorkingMemory
from app.records import SessionKey

_ROUND: Final = 100
ALL_ERASURES: Final = 100_000
"""All there are: one a call that forgot, and one a session that lost messages, since Redis went away."""


class Erasures:
    """Works off the erasures that are owed. Any of them may be carried out twice."""

    def __init__(self, working: WorkingMemory, episodic: EpisodicMemory, answers: AnswerStore) -> None:
        self._working = working
        self._episodic = episodic
        self._answers = answers

    async def carry_out(self, session: SessionKey | None = None) -> int:
        """All that is owed, or what concerns one session; returns how many messages and logged episodes went.

        Raises:
            TierUnavailable: Redis or Postgres is away; what is left stays owed.
        """
        total = 0
        while erased := await self._round(session):
            total += sum(erased)
        return total

    async def _round(self, session: SessionKey | None) -> list[int]:
        async with self._episodic.reading() as reader:
            owed = await reader.owed_erasures(_ROUND, session=session)
        erased = [await erase(o.erasure, self._working, self._answers) for o in owed]
        if owed:
            async with self._episodic.writing() as tx:
                await tx.settle_erasures([o.id for o in owed])
        return erased


async def erase(erasure: Erasure, working: WorkingMemory, answers: AnswerStore) -> int:
    """Have Redis forget; returns how many messages and logged episodes went. Idempotent.

    Answers to named calls may quote what is to be forgotten: of a namespace that something was forgotten of, all go.
    """
    if erasure.is_of_answers_too:
        await answers.forget(erasure.scope.namespace)
    return await working.erase(erasure)
