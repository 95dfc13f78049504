"""Forgetting, in all three tiers and the caches, with a second look.

Postgres decides. Its transaction keeps drains of the namespace away until the rows and the buffers are gone, so that
nothing forgotten can be drained back. The index follows at once or, while it is away, from the outbox; buffers that
are away are owed an erasure, which is carried out before anything of theirs is drained.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar
from uuid import UUID

import structlog

from app.consolidation.erasures import erase
from app.consolidation.forgotten import buffered_texts, stored_texts, texts_of
from app.consolidation.representation import DEFAULT_CONTEXT, ContextPolicy
from app.errors import TierUnavailable
from app.faultpoints import FaultPoint, reached
from app.ports import (
    AnswerStore,
    Clock,
    EmbeddingCache,
    EpisodicMemory,
    EpisodicReader,
    EpisodicWriter,
    Erasure,
    SemanticMemory,
    WorkingMemory,
)
from app.records import ForgetReceipt, RecordKind, Scope, Selection, SessionKey, Tier, TierReceipt, message_uid

log = structlog.get_logger(__name__)

T = TypeVar("T")
_LESSONS: Final = 1000
"""Removed from the index at once; if ever there are more, the rest goes with the outbox, seconds later."""


@dataclass(frozen=True, slots=True)
class _Named:
    """Records by name, those of the episodes' messages that are stored included."""

    uids: dict[RecordKind, tuple[UUID, ...]]
    buffered: dict[SessionKey, frozenset[UUID]]

    @property
    def points(self) -> tuple[UUID, ...]:
        return tuple(uid for uids in self.uids.values() for uid in uids)


class Forgetting:
    """Removes a scope's memories, or records by name. `on_forgotten` is told the namespace: whoever remembers it forgets."""

    def __init__(  # noqa: PLR0913 -- all that may hold a memory, put together in one place
        self, working: WorkingMemory, episodic: EpisodicMemory, semantic: SemanticMemory, *,
        answers: AnswerStore, cache: EmbeddingCache | None, on_forgotten: Callable[[str], None], clock: Clock,
        context: ContextPolicy = DEFAULT_CONTEXT,
    ) -> None:  # fmt: skip
        self._working = working
        self._episodic = episodic
        self._semantic = semantic
        self._answers = answers
        self._cache = cache
        self._on_forgotten = on_forgotten
        self._clock = clock
        self._context = context

    async def forget(self, scope: Scope) -> ForgetReceipt:
        """Remove all that `scope` admits: a session, a user, an agent, a project, a namespace; and look again.

        A session's state and scratchpad have no owner but the session: they go with it, or with the namespace.

        Raises:
            TierUnavailable: Postgres is away; at most buffers were removed. Repeat the call.
        """
        points = await _or_none(self._semantic.count(scope=scope))
        async with self._episodic.writing() as tx:
            await tx.hold_namespace(scope.namespace)
            vectors = await self._evict(stored_texts(tx, scope, self._context))
            vectors += await self._evict(buffered_texts(self._working, scope))
            rows = await tx.forget(scope)
            await reached(FaultPoint.FORGET_ROWS_GONE)
            logged = await _or_none(self._working.forget_episodes(scope))
            buffered = await self._erase(tx, Erasure(scope))
            await tx.renew_episode_generation(scope.namespace)
            await reached(FaultPoint.FORGET_BUFFERS_GONE)
        await reached(FaultPoint.FORGET_COMMITTED)
        # While the index is away the outbox's delete entries finish the work.
        is_index_done = await _is_done(self._semantic.forget(scope))
        lessons = await self._forget_lessons(scope.namespace)
        await self._void_caches(scope.namespace)
        await reached(FaultPoint.FORGET_POINTS_GONE)
        tiers = {
            Tier.WORKING: TierReceipt(
                _counted(message=buffered, episode=logged, vector=vectors), await _or_none(self._working.count(scope))
            ),
            Tier.EPISODIC: TierReceipt(_by_kind(rows), await self._rows_of(scope)),
            Tier.SEMANTIC: TierReceipt(_counted(point=points), _sum(await _or_none(self._semantic.count(scope=scope)), lessons)),
        }
        return ForgetReceipt(tiers, _pending(working=buffered is not None, semantic=is_index_done and lessons == 0))

    async def forget_records(self, selection: Selection) -> ForgetReceipt:
        """Remove records by name, stored or still buffered, episodes with their messages; and look again.

        Raises:
            TierUnavailable: Postgres is away; at most buffers were removed. Repeat the call.
        """
        async with self._episodic.writing() as tx:
            await tx.hold_namespace(selection.namespace)
            named = await _named(tx, selection)
            points = await _or_none(self._semantic.present(named.points))
            vectors = await self._evict(_texts_of(tx, named, self._context))
            rows = await _delete(tx, selection.namespace, named)
            logged = await self._erase(tx, Erasure(Scope(selection.namespace), ids=selection.episodes))
            erased = [await self._erase(tx, _erasure(session, ids)) for session, ids in named.buffered.items()]
            await tx.renew_episode_generation(selection.namespace)
        is_index_done = await _is_done(self._semantic.delete(named.points))
        lessons = await self._forget_lessons(selection.namespace)
        await self._void_caches(selection.namespace)
        tiers = {
            Tier.WORKING: TierReceipt(
                _counted(message=sum(n or 0 for n in erased), episode=logged, vector=vectors), await self._buffered(named)
            ),
            Tier.EPISODIC: TierReceipt(_by_kind(rows), await self._rows_named(selection.namespace, named)),
            Tier.SEMANTIC: TierReceipt(
                _counted(point=points), _sum(await _or_none(self._semantic.present(named.points)), lessons)
            ),
        }
        return ForgetReceipt(tiers, _pending(working=None not in (logged, *erased), semantic=is_index_done and lessons == 0))

    async def _erase(self, tx: EpisodicWriter, erasure: Erasure) -> int | None:
        """How many messages and logged episodes went from the buffers; None when they are away, and are owed it."""
        try:
            return await erase(erasure, self._working, self._answers)
        except TierUnavailable as error:
            log.warning("erasure_owed", problem=error.problem)
            await tx.owe_erasure(replace(erasure, before=self._clock()))
            return None

    async def _evict(self, pages: AsyncIterator[Sequence[str]]) -> int:
        """How many vectors were cached. What cannot be reached is gone with its TTL."""
        if self._cache is None:
            return 0
        evicted = 0
        try:
            spaces = await _or_none(self._semantic.spaces()) or ()
            async for page in pages:
                evicted += await self._cache.evict(page, spaces)
        except TierUnavailable as error:
            if error.tier == Tier.EPISODIC:
                raise
            log.warning("cache_not_evicted", problem=error.problem)
        return evicted

    async def _forget_lessons(self, namespace: str) -> int | None:
        """What was learned from nothing but forgotten episodes went with them, whosever it was: its points go by name.

        Returns how many of them are left; None when the index is away.
        """
        async with self._episodic.reading() as reader:
            lessons = await reader.owed_deletions(RecordKind.KNOWLEDGE, namespace, _LESSONS)
        await _is_done(self._semantic.delete(lessons))
        return await _or_none(self._semantic.present(lessons))

    async def _void_caches(self, namespace: str) -> None:
        """Once more: who recalled while the points were on their way out may have cached what is gone by now."""
        self._on_forgotten(namespace)
        async with self._episodic.writing() as tx:
            await tx.renew_episode_generation(namespace)

    async def _rows_of(self, scope: Scope) -> int:
        async with self._episodic.reading() as reader:
            return sum((await reader.count(scope)).values())

    async def _rows_named(self, namespace: str, named: _Named) -> int:
        async with self._episodic.reading() as reader:
            return sum([len(await reader.existing(kind, namespace, uids)) for kind, uids in named.uids.items()])

    async def _buffered(self, named: _Named) -> int | None:
        return await _or_none(_count_buffered(self._working, named))


async def _named(reader: EpisodicReader, selection: Selection) -> _Named:
    """Ids of another namespace's episodes and knowledge are left out here: the index is asked by id alone."""
    session = SessionKey(selection.namespace, selection.session_id or "")
    episodes = tuple(await reader.existing(RecordKind.EPISODE, selection.namespace, selection.episodes))
    knowledge = tuple(await reader.existing(RecordKind.KNOWLEDGE, selection.namespace, selection.knowledge))
    held = [message for episode in episodes for message in await reader.episode_messages(episode)]
    said = [(session, i) for i in selection.messages] + [(m.session, m.id) for m in held]
    messages = tuple(dict.fromkeys(message_uid(s, i) for s, i in said))
    uids = {RecordKind.EPISODE: episodes, RecordKind.KNOWLEDGE: knowledge, RecordKind.MESSAGE: messages}
    return _Named(uids, {s: frozenset(i for other, i in said if other == s) for s in {s for s, _ in said}})


async def _delete(tx: EpisodicWriter, namespace: str, named: _Named) -> dict[RecordKind, int]:
    stored = await tx.existing(RecordKind.MESSAGE, namespace, named.uids[RecordKind.MESSAGE])
    # Episodes first: an emptied conversation would go uncounted with the last of its messages.
    rows = {kind: await tx.delete_records(kind, namespace, uids) for kind, uids in named.uids.items()}
    return {**rows, RecordKind.MESSAGE: len(stored)}


async def _texts_of(reader: EpisodicReader, named: _Named, context: ContextPolicy) -> AsyncIterator[Sequence[str]]:
    for kind, uids in named.uids.items():
        yield await texts_of(reader, kind, uids, context)


async def _count_buffered(working: WorkingMemory, named: _Named) -> int:
    found = 0
    for session, ids in named.buffered.items():
        after = 0
        while page := await working.read(session, after=after, limit=1000):
            found += sum(m.id in ids for m in page)
            after = page[-1].sequence
    return found


def _erasure(session: SessionKey, ids: frozenset[UUID]) -> Erasure:
    return Erasure(Scope(session.namespace, session_id=session.session_id), ids=tuple(ids))


def _counted(**removed: int | None) -> dict[str, int]:
    """What there was any of."""
    return {kind: count for kind, count in removed.items() if count}


def _by_kind(rows: Mapping[RecordKind, int]) -> dict[str, int]:
    return _counted(**{kind.value: count for kind, count in rows.items()})


def _sum(*left: int | None) -> int | None:
    """None when one is not known."""
    known = [count for count in left if count is not None]
    return sum(known) if len(known) == len(left) else None


def _pending(**done: bool) -> tuple[str, ...]:
    return tuple(tier for tier, is_done in done.items() if not is_done)


async def _or_none(work: Awaitable[T]) -> T | None:
    try:
        return await work
    except TierUnavailable:
        return None


async def _is_done(work: Awaitable[None]) -> bool:
    try:
        await work
    except TierUnavailable:
        return False
    return True
