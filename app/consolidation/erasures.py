"""Carrying out what the buffers are owed: erasures of what was forgotten or deleted, Redis having been away or not asked."""

from __future__ import annotations

from typing import Final

from app.ports import EpisodicMemory, WorkingMemory
from app.records import SessionKey

_ROUND: Final = 100


class Erasures:
    """Works off the erasures that are owed. Any of them may be carried out twice."""

    def __init__(self, working: WorkingMemory, episodic: EpisodicMemory) -> None:
        self._working = working
        self._episodic = episodic

    async def carry_out(self, session: SessionKey | None = None) -> int:
        """All that is owed, or what concerns one session; returns how many messages went.

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
        erased = [await self._working.erase(o.erasure) for o in owed]
        if owed:
            async with self._episodic.writing() as tx:
                await tx.settle_erasures([o.id for o in owed])
        return erased
