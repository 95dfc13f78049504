"""Heuristics of one namespace and project: read its cases, look for what tells good from bad, keep what was found.

The marks that say that a scope is out of date go in the transaction that saves what was found: killed before, it is done
again; what was marked meanwhile is done after. A heuristic's id follows from what it says, so doing it again, also twice at
once, changes nothing.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from app.faultpoints import FaultPoint, reached
from app.learning.cases import Case
from app.learning.clusters import clusters_of
from app.learning.conditions import Condition, Op
from app.learning.extraction import ExtractionPolicy
from app.learning.extractors.outcomes import GOOD_FROM
from app.learning.heuristics import Heuristic, HeuristicPolicy, heuristics_in
from app.learning.perceived import as_json, in_words
from app.learning.phrasing import Phraser
from app.learning.teaching import is_ours, teach, withdraw
from app.ports import Clock, EpisodicMemory, EpisodicReader, StaleScope
from app.records import COUNTED, P_VALUE, Episode, Knowledge, KnowledgeCriteria, KnowledgeKind, Origin, Scope, derived_uuid

_PAGE: Final = 500
_BOUNDS: Final = frozenset({Op.LT, Op.LTE, Op.GT, Op.GTE})


@dataclass(frozen=True, slots=True)
class CasePolicy:
    """The newest `cases` with an outcome are compared, looked for among the newest `episodes` of a namespace.

    An outcome of quality `good_from` and above counts as good.
    """

    cases: int = 2000
    episodes: int = 20_000
    good_from: float = GOOD_FROM
    learnable: ExtractionPolicy = field(default_factory=ExtractionPolicy)


class HeuristicLearning:
    """Brings the heuristics of stale scopes up to date."""

    def __init__(
        self, episodic: EpisodicMemory, phraser: Phraser, *, policy: HeuristicPolicy, cases: CasePolicy, clock: Clock
    ) -> None:
        self._episodic = episodic
        self._phraser = phraser
        self._policy = policy
        self._cases = cases
        self._clock = clock

    async def learn(self, stale: StaleScope) -> Counter[str]:
        """Look at a scope's cases anew; `heuristics` counts those that hold now."""
        async with self._episodic.reading() as reader:
            cases = await self._read_cases(reader, stale.scope)
            known = {k.id: k for k in await _learned(reader, stale.scope)}
        found = await asyncio.to_thread(self._find, cases)
        await reached(FaultPoint.LEARN_HEURISTICS_FOUND)
        knowledge = [await self._described(known_as(h, stale.scope, self._clock()), h, known) for h in found]
        distinct = {k.id: k for k in reversed(knowledge)}  # of two that differ in their bounds alone, the surer
        await self._save(stale, distinct, [k for k in known.values() if k.id not in distinct])
        return Counter(heuristics=len(distinct))

    def _find(self, cases: Sequence[Case]) -> tuple[Heuristic, ...]:
        return heuristics_in(cases, clusters_of(cases), self._policy) if cases else ()

    async def _read_cases(self, reader: EpisodicReader, scope: Scope) -> list[Case]:
        """Oldest first, so that what comes of them does not depend on how they were read."""
        cases: list[Case] = []
        before, looked_at = None, 0
        while len(cases) < self._cases.cases and looked_at < self._cases.episodes:
            page = await reader.list_episodes(scope, kind=None, before=before, limit=_PAGE, archived=None)
            cases += [case for episode in page if (case := self._case_of(episode, scope)) is not None]
            looked_at += len(page)
            if len(page) < _PAGE:
                break
            before = page[-1].id
        return cases[: self._cases.cases][::-1]

    def _case_of(self, episode: Episode, scope: Scope) -> Case | None:
        is_of_scope = episode.scope.project_id == scope.project_id  # asked without a project, all of them are listed
        is_learnable = is_of_scope and self._cases.learnable.is_learnable(episode)
        return Case.of(episode, self._cases.good_from) if is_learnable else None

    async def _described(self, learned: Knowledge, heuristic: Heuristic, known: Mapping[UUID, Knowledge]) -> Knowledge:
        """With the sentence it has, if nothing that was counted is different; else with a new one."""
        stored, counted = known.get(learned.id), str(heuristic)
        is_same = stored is not None and stored.content.get(COUNTED) == counted
        description = stored.description if stored is not None and is_same else await self._phraser.phrase(heuristic)
        return replace(learned, description=description)

    async def _save(self, stale: StaleScope, found: Mapping[UUID, Knowledge], others: Sequence[Knowledge]) -> None:
        now = self._clock()
        async with self._episodic.writing() as tx:
            for knowledge_id in sorted({*found, *(k.id for k in others)}):  # in one order: nobody waits in a circle
                if knowledge_id in found:
                    await teach(tx, found[knowledge_id], now)
                else:
                    await withdraw(tx, next(k for k in others if k.id == knowledge_id), now)
            await tx.settle_scope(stale)
            await reached(FaultPoint.LEARN_HEURISTICS_SAVED)


def known_as(heuristic: Heuristic, scope: Scope, now: datetime) -> Knowledge:
    """What a heuristic is as knowledge. Its id follows from the scope, the action and the conditions, whatever the bounds."""
    whose = (scope.namespace, "" if scope.project_id is None else f"={scope.project_id}")
    return Knowledge(
        id=derived_uuid("heuristic", *whose, heuristic.action, *(_fixed(c) for c in heuristic.conditions)),
        kind=KnowledgeKind.HEURISTIC,
        scope=scope,
        description="",
        created_at=now,
        content=_content(heuristic),
        confidence=heuristic.confidence,
        supporting_episodes=heuristic.supporting,
        contradicting_episodes=heuristic.contradicting,
        origin=Origin.LEARNED,
        evidence_count=heuristic.tried,
    )


def _content(heuristic: Heuristic) -> dict[str, object]:
    return {
        "conditions": as_json(heuristic.conditions),
        "action": heuristic.called,
        "well": heuristic.well,
        "tried": heuristic.tried,
        "others_well": heuristic.others_well,
        "others_tried": heuristic.others_tried,
        P_VALUE: heuristic.p_value,
        COUNTED: str(heuristic),
    }


def _fixed(condition: Condition) -> str:
    """What stays the same of a condition when there are more cases: a bound moves with them."""
    return f"{condition.field} {condition.op}" if condition.op in _BOUNDS else in_words([condition])


async def _learned(reader: EpisodicReader, scope: Scope) -> list[Knowledge]:
    """The heuristics of exactly this scope that learning may change."""
    learned = KnowledgeCriteria(origin=Origin.LEARNED)
    found: list[Knowledge] = []
    before = None
    while True:
        page = await reader.list_knowledge(scope, kind=KnowledgeKind.HEURISTIC, before=before, limit=_PAGE, criteria=learned)
        found += [k for k in page if k.scope == scope and is_ours(k)]
        if len(page) < _PAGE:
            return found
        before = page[-1].id
