"""Who takes part: known when the index answers, and never worth missing a deadline for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from app.embedding.hashing import HashingEmbedder
from app.ports import SemanticMemory
from app.records import Scope, Space, Tier
from app.retrieval.participants import Participants
from app.testing.faults import Hang, away, troubled
from app.testing.semantic import InMemorySemanticMemory


class Crowd(InMemorySemanticMemory):
    """An index that knows two authors, and how often it was asked."""

    asked = 0

    async def authors(self, space: Space, scope: Scope, limit: int) -> tuple[str, ...]:  # noqa: ARG002 - as the port has it
        self.asked += 1
        return ("Ana", "Ben")


@pytest.mark.parametrize(
    "lost", [lambda index: troubled(index, Hang("authors")), lambda index: away(index, Tier.SEMANTIC)], ids=["hangs", "is away"]
)
async def test_an_index_that_does_not_answer_is_not_waited_for(lost: Callable[[SemanticMemory], SemanticMemory]) -> None:
    """Without it a question is embedded with the names in it, at once."""
    participants = Participants(lost(Crowd()), HashingEmbedder(), patience=timedelta(milliseconds=1))
    assert (await participants.of("acme")).authors == ()


async def test_what_the_index_said_is_remembered() -> None:
    """It is asked once in ten seconds."""
    crowd, seconds = Crowd(), [0.0]
    participants = Participants(crowd, HashingEmbedder(), monotonic=lambda: seconds[0])
    for at in (0.0, 9.9, 10.1):
        seconds[0] = at
        assert (await participants.of("acme")).authors == ("Ana", "Ben")
    assert crowd.asked == 2
