"""Comparing Postgres with the vector index record by record, and queueing what is wrong.

Read a window of both sides → compare → look again at what is suspicious → one transaction: queue it (when repairing) and
move the cursor. Killed anywhere, the run is resumed at its cursor. Memory is bounded by the window.

A repair is an outbox entry "bring the index up to date with this record", whatever is wrong with it: the indexer then asks
Postgres, and writes or removes the point. An entry "delete" might meet a record that has come back meanwhile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog

from app.consolidation.comparison import Finding, Look, Sides, Verdict, compare, confirm, reach, up_to
from app.consolidation.rendering import DEFAULT_RENDERING, Rendering
from app.consolidation.representation import draft_episode, draft_knowledge
from app.consolidation.spaces import Spaces
from app.errors import Conflict, EmbedderUnavailable, TierUnavailable
from app.observability import RECONCILED
from app.ports import Clock, EpisodicMemory, EpisodicReader, Indexable, OutboxEntry, OutboxOp, SemanticMemory
from app.records import FindingKind, ReconcileState, Reconciliation, RecordKind, Scope, Space, new_id

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ReconcilePolicy:
    """`window`: records read from each side at a time. `examples`: how many of each kind are named in the report.

    `lease`: for how long a run that gives no sign of life is left alone.
    """

    window: int = 1000
    examples: int = 20
    lease: timedelta = timedelta(minutes=2)


class Reconcile:
    """Compares, one run at a time in the whole installation."""

    def __init__(
        self, episodic: EpisodicMemory, semantic: SemanticMemory, spaces: Spaces, *,
        policy: ReconcilePolicy, clock: Clock, rendering: Rendering = DEFAULT_RENDERING,
    ) -> None:  # fmt: skip
        self._episodic = episodic
        self._semantic = semantic
        self._spaces = spaces
        self._policy = policy
        self._clock = clock
        self._rendering = rendering
        self._answered_space: str | None = None

    async def run(self, *, is_repair: bool, namespace: str | None = None) -> Reconciliation:
        """Compare everything, or a namespace. A run of the same kind that was interrupted is gone on with.

        Raises:
            Conflict: one is running.
            EmbedderUnavailable: which space is the right one is not known yet.
        """
        space = self._spaces.primary()
        run = await self._begin(Reconciliation(new_id(), namespace, is_repair, space.name, self._clock()))
        log.info("reconcile_begun", run_id=str(run.id), is_repair=is_repair, resumed=run.generation > 1)
        try:
            while run.state is ReconcileState.RUNNING:
                run = await self._advance(run, space)
        except BaseException:
            await self._let_go(run)
            raise
        if is_repair:
            await self._spaces.drop_emptied()
        found = {kind.value: count for kind, count in run.findings.items()}
        log.info("reconciled", run_id=str(run.id), checked=run.checked, pending=run.pending, **found)
        return run

    async def run_when_due(self, every: timedelta) -> Reconciliation | None:
        """Repair when the last time was `every` ago, was interrupted, or was for another embedding model.

        None when it is not due, or cannot be done now.
        """
        try:
            space = self._spaces.primary().name
            async with self._episodic.reading() as reader:
                runs = await reader.reconciliations(_REMEMBERED)
            if not is_due(runs, space, self._clock(), every, is_answered=self._answered_space == space):
                return None
            run = await self.run(is_repair=True)
        except (Conflict, EmbedderUnavailable, TierUnavailable) as error:
            log.info("reconcile_put_off", problem=str(error))
            return None
        self._answered_space = space
        return run

    async def runs(self, limit: int) -> tuple[Reconciliation, ...]:
        """The newest runs, newest first; one of them may be running."""
        async with self._episodic.reading() as reader:
            return await reader.reconciliations(limit)

    async def _begin(self, asked: Reconciliation) -> Reconciliation:
        async with self._episodic.writing() as tx:
            unfinished = await tx.lock_reconciliation()
            now = self._clock()
            if unfinished is not None and is_leased(unfinished, now):
                raise Conflict("reconcile", "is running; wait until it is done")
            if unfinished is not None and not is_same(unfinished, asked):
                await tx.save_reconciliation(replace(unfinished, state=ReconcileState.ABANDONED, finished_at=now))
                unfinished = None
            run = self._leased(taken_up(unfinished) if unfinished else replace(asked, total=await _total(tx, asked.namespace)))
            await tx.save_reconciliation(run)
        return run

    async def _advance(self, run: Reconciliation, space: Space) -> Reconciliation:
        """Compare the next window; on return its findings are queued (when repairing), and the cursor is behind it."""
        sides, end = await self._read(run, space)
        verdict = await self._verify(compare(sides), space)
        advanced = advance(run, len(sides.records), verdict, end, examples=self._policy.examples)
        advanced = self._leased(advanced) if end is not None else finished(advanced, self._clock())
        async with self._episodic.writing() as tx:
            if run.is_repair:
                await tx.enqueue([_repair(finding) for finding in verdict.findings])
            if not await tx.save_reconciliation(advanced):
                raise Conflict("reconcile", "was taken up by another process, which goes on with it")
        _count(sides, verdict)
        return advanced

    async def _read(self, run: Reconciliation, space: Space) -> tuple[Sides, UUID | None]:
        """The next window, and the uid it reaches to; None when it is the last."""
        window, scope = self._policy.window, None if run.namespace is None else Scope(run.namespace)
        async with self._episodic.reading() as reader:
            records = await reader.scroll_indexable(after=run.cursor, limit=window, namespace=run.namespace)
        points = await self._semantic.scroll(space, after=run.cursor, limit=window, scope=scope)
        strays = [
            await self._semantic.scroll(s, after=run.cursor, limit=window, scope=scope) for s in await self._spaces.others()
        ]
        end = reach((records, points, *strays), window)
        async with self._episodic.reading() as reader:
            hashed = await _hashed(reader, up_to(end, records), self._rendering)
        return Sides(hashed, up_to(end, points), tuple(p for page in strays for p in up_to(end, page))), end

    async def _verify(self, suspects: Sequence[Finding], space: Space) -> Verdict:
        """What is left of the suspects when both sides are looked at again, the index between two looks at the truth."""
        uids = [suspect.uid for suspect in suspects]
        if not uids:
            return Verdict()
        before = await self._look(uids)
        points = await self._semantic.lookup(space, uids)
        strays = [await self._semantic.lookup(other, uids) for other in await self._spaces.others()]
        after = await self._look(uids)
        return confirm(before, Sides(after.records, points, tuple(p for found in strays for p in found)), after)

    async def _look(self, uids: Sequence[UUID]) -> Look:
        async with self._episodic.reading() as reader:
            records = await _hashed(reader, await reader.indexable(uids), self._rendering)
            # Entries last: whatever changed a record before it was read has opened its entry by now.
            return Look(records, await reader.outbox_entries(uids))

    def _leased(self, run: Reconciliation) -> Reconciliation:
        return replace(run, leased_until=self._clock() + self._policy.lease)

    async def _let_go(self, run: Reconciliation) -> None:
        """Leave an interrupted run to whoever comes next, at once rather than when the lease runs out."""
        with suppress(TierUnavailable):
            async with self._episodic.writing() as tx:
                await tx.save_reconciliation(replace(run, leased_until=None))


_REMEMBERED: Final = 100
"""Runs looked at to find the last repair of everything; checks of namespaces may have come between."""


def is_leased(run: Reconciliation, now: datetime) -> bool:
    return run.leased_until is not None and run.leased_until > now


def is_same(run: Reconciliation, asked: Reconciliation) -> bool:
    """Whether what `run` has done so far is part of what is asked."""
    return (run.namespace, run.is_repair, run.space) == (asked.namespace, asked.is_repair, asked.space)


def is_due(runs: Sequence[Reconciliation], space: str, now: datetime, every: timedelta, *, is_answered: bool) -> bool:
    """Whether everything should be repaired now; `runs` are the newest, newest first.

    `is_answered`: this process has had its turn with `space`. While two versions with different models run side by side,
    the newer one moves the points, and the older one does not move them back before its time.
    """
    running = next((run for run in runs if run.state is ReconcileState.RUNNING), None)
    if running is not None and is_leased(running, now):
        return False
    if running is not None and running.is_repair:
        return True  # whoever was at it is gone
    last = next(filter(_has_repaired_everything, runs), None)
    if last is None or last.finished_at is None:
        return True
    is_new_model = last.space != space and not is_answered
    return is_new_model or now - last.finished_at >= every


def _has_repaired_everything(run: Reconciliation) -> bool:
    return run.state is ReconcileState.DONE and run.is_repair and run.namespace is None


def taken_up(run: Reconciliation) -> Reconciliation:
    return replace(run, generation=run.generation + 1)


def finished(run: Reconciliation, now: datetime) -> Reconciliation:
    return replace(run, state=ReconcileState.DONE, finished_at=now, leased_until=None)


def advance(run: Reconciliation, checked: int, verdict: Verdict, end: UUID | None, *, examples: int) -> Reconciliation:
    """The run after one more window of `checked` records, which reached to `end`."""
    named = {kind: run.examples.get(kind, ()) for kind in FindingKind}
    for finding in verdict.findings:
        named[finding.kind] = (*named[finding.kind], finding.uid)[:examples]
    return replace(
        run,
        checked=run.checked + checked,
        findings=dict(Counter(run.findings) + Counter(finding.kind for finding in verdict.findings)),
        examples={kind: uids for kind, uids in named.items() if uids},
        pending=run.pending + verdict.pending,
        dead_letters=run.dead_letters + verdict.dead_letters,
        cursor=end or run.cursor,
    )


def _repair(finding: Finding) -> OutboxEntry:
    return OutboxEntry(OutboxOp.UPSERT, finding.record_kind, finding.namespace, finding.uid)


def _count(sides: Sides, verdict: Verdict) -> None:
    RECONCILED.labels("checked").inc(len(sides.records))
    for finding in verdict.findings:
        RECONCILED.labels(finding.kind.value).inc()


async def _total(reader: EpisodicReader, namespace: str | None) -> int:
    counts = (await reader.status()).indexable if namespace is None else await reader.count(Scope(namespace))
    return sum(counts.values())


async def _hashed(reader: EpisodicReader, records: Iterable[Indexable], rendering: Rendering) -> tuple[Indexable, ...]:
    """With the hashes that the store does not know; one that cannot be read (a newer version's) stays unknown."""
    rows = tuple(records)
    episode_uids = [row.uid for row in rows if row.kind is RecordKind.EPISODE]
    knowledge_uids = [row.uid for row in rows if row.kind is RecordKind.KNOWLEDGE]
    drafts = [
        *(draft_episode(e, rendering) for e in (await reader.episodes_by_uid(episode_uids) if episode_uids else ())),
        *(draft_knowledge(k) for k in (await reader.knowledge_by_uid(knowledge_uids) if knowledge_uids else ())),
    ]
    hashes = {(draft.point.kind, draft.point.id): draft.point.content_sha256 for draft in drafts}
    return tuple(replace(row, content_sha256=hashes.get((row.kind, row.uid), row.content_sha256)) for row in rows)
