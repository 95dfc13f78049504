"""The index's spaces: the one new vectors are meant for, and what is left of other models."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from app.errors import EmbedderUnavailable
from app.ports import SemanticMemory
from app.records import Space

log = structlog.get_logger(__name__)


class Spaces:
    """Asks the index which spaces there are. `primary` says which one is meant, or raises `EmbedderUnavailable`."""

    def __init__(self, semantic: SemanticMemory, primary: Callable[[], Space]) -> None:
        self._semantic = semantic
        self.primary = primary

    async def others(self) -> list[Space]:
        """Those that are not the primary's."""
        mine = self.primary().name
        return [space for space in await self._semantic.spaces() if space.name != mine]

    async def count(self) -> tuple[int, int]:
        """How many points lie in the primary's space, and in others. All do while it is not known."""
        everywhere = await self._semantic.count()
        try:
            here = await self._semantic.count(self.primary())
        except EmbedderUnavailable:
            return everywhere, 0
        return here, everywhere - here

    async def drop_emptied(self) -> int:
        """Drop every other space that holds no point any more; returns how many. None while the primary is not known.

        Somebody may be writing there just now, a fallback for instance. Nothing is lost: what is not in the primary's
        space is still owed to it.
        """
        try:
            emptied = [space for space in await self.others() if await self._semantic.count(space) == 0]
        except EmbedderUnavailable:
            return 0
        for space in emptied:
            await self._semantic.drop(space)
            log.info("space_dropped", space=space.name)
        return len(emptied)
