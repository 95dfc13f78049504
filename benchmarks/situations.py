"""Figures of similar situations: how fast episodes are recalled, and how often a repeated question is answered from the cache."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from app.errors import TierUnavailable
from app.records import Draft, Episode, EpisodeKind, Scope, Wait, new_id
from app.service import HybridMemoryService
from benchmarks.in_process import Call
from benchmarks.workload import NAMESPACE, Question, Workload

_AT_ONCE: Final = 200
_SITUATIONS: Final = 40
_ASKS_A_WRITE: Final = 50
_SEED: Final = 20260501


async def decide_and_index(service: HybridMemoryService, workload: Workload) -> None:
    """Make a decision of each message of the workload, in the project of its author, until all are in the index."""
    episodes = [_decision(draft, place) for talk in workload.talks for place, draft in enumerate(talk.drafts)]
    for start in range(0, len(episodes), _AT_ONCE):
        batch = episodes[start : start + _AT_ONCE]
        await asyncio.gather(*(service.store_episode(episode, wait=Wait.NONE) for episode in batch))
    report = await service.consolidate(Scope(NAMESPACE))
    if report.errors or (await service.status()).drift:
        raise RuntimeError(f"consolidation went wrong: {report.errors}")


def _decision(draft: Draft, place: int) -> Episode:
    at = draft.created_at
    if at is None:
        raise ValueError("the workload's messages are dated")
    scope = Scope(NAMESPACE, project_id=draft.name)
    decided = {"perception": {"note": draft.content}, "action": {"decision": place}, "outcome": {"done": place % 10}}
    return Episode(new_id(), EpisodeKind.DECISION, scope, at, at, **decided, outcome_quality=place % 10 / 10)


@dataclass(slots=True)
class Recalling:
    """Asks what situations are like, and counts the answers that came from the cache, without a tier or stage, or not at all."""

    service: HybridMemoryService
    cached: int = 0
    degraded: int = 0

    def calls(self, questions: Sequence[Question]) -> list[Call]:
        return [partial(self._ask, question) for question in questions]

    async def repeat(self, workload: Workload, asks: int) -> None:
        """Ask the same situations by Zipf's law, the index changing after each fifty."""
        rng = np.random.default_rng(_SEED)
        weights = 1.0 / np.arange(1, _SITUATIONS + 1)
        chosen = rng.choice(_SITUATIONS, size=asks, p=weights / weights.sum())
        drafts = workload.talks[0].drafts
        for n, situation in enumerate(chosen.tolist()):
            if n % _ASKS_A_WRITE == 0:
                await self.service.store_episode(_decision(drafts[n // _ASKS_A_WRITE % len(drafts)], n), wait=Wait.INDEXED)
            await self._ask(workload.questions[situation])

    async def _ask(self, question: Question) -> None:
        scope = Scope(NAMESPACE, project_id=question.author)
        try:
            found = await self.service.recall_similar_situations(question.text, scope, limit=10)
        except TierUnavailable:
            self.degraded += 1
        else:
            self.cached += found.is_cached
            self.degraded += bool(found.degraded)
