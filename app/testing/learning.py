"""What the in-memory twin of tier 2 keeps for learning, and how its sessions ask for it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from uuid import UUID

from app.ports import Extraction, LearningStatus, Lesson, PatternQuery, StaleScope
from app.records import Episode, EpisodeKind, Json, Pattern, PatternState, Scope, utc_now

if TYPE_CHECKING:
    from app.testing.episodic_books import Books

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Due:
    """An extraction with what only the queue knows of it."""

    extraction: Extraction
    created_at: datetime
    next_attempt_at: datetime | None = None
    leased_until: datetime | None = None
    is_dead: bool = False

    def is_due(self, now: datetime) -> bool:
        return not self.is_dead and all(t is None or t <= now for t in (self.next_attempt_at, self.leased_until))


@dataclass(slots=True)
class LearningBooks:
    """One dictionary a table, as in `Books`. A mark without a family is one on its scope's heuristics."""

    extractions: dict[UUID, Due] = field(default_factory=dict)
    patterns: dict[UUID, Pattern] = field(default_factory=dict)
    merged: dict[UUID, UUID] = field(default_factory=dict)
    evidence: dict[tuple[UUID, UUID], None] = field(default_factory=dict)
    marks: dict[int, tuple[Scope, UUID | None]] = field(default_factory=dict)
    last_mark: int = 0
    last_generation: int = 0

    def copy(self) -> LearningBooks:
        return LearningBooks(
            dict(self.extractions), dict(self.patterns), dict(self.merged), dict(self.evidence), dict(self.marks),
            self.last_mark, self.last_generation,
        )  # fmt: skip

    def next_generation(self) -> int:
        self.last_generation += 1
        return self.last_generation

    def open(self, episode: Episode, *, has_steps: bool) -> None:
        if episode.is_open or (episode.kind is EpisodeKind.CONVERSATION and not has_steps):
            return
        known = self.extractions.get(episode.id)
        extraction = Extraction(episode.id, episode.scope.namespace, self.next_generation())
        self.extractions[episode.id] = Due(extraction, known.created_at if known else utc_now())

    def holds(self, given: Extraction) -> bool:
        due = self.extractions.get(given.episode_id)
        return due is not None and due.extraction.generation == given.generation

    def learn(self, lesson: Lesson, scope: Scope) -> None:
        """Put the lesson in the place of what was learned from its episode before."""
        episode_id = lesson.extraction.episode_id
        for pattern in lesson.patterns:
            unweighed = replace(pattern, confidence=0.0, supporters=0, supporting_episodes=())
            self.patterns.setdefault(pattern.id, unweighed)
        new = {(self.merged.get(p.id, p.id), episode_id) for p in lesson.patterns}
        old = {pair for pair in self.evidence if pair[1] == episode_id}
        self._replace_evidence(old - new, new - old)
        self.mark(scope, None)

    def _replace_evidence(self, gone: Collection[tuple[UUID, UUID]], new: Collection[tuple[UUID, UUID]]) -> None:
        for pair in gone:
            del self.evidence[pair]
        self.evidence.update(dict.fromkeys(new))
        self.mark_families(pattern_id for pattern_id, _ in {*gone, *new})

    def mark(self, scope: Scope, family: UUID | None) -> None:
        self.last_mark += 1
        self.marks[self.last_mark] = (scope, family)

    def mark_families(self, pattern_ids: Iterable[UUID]) -> None:
        for scope, family in {(self.patterns[i].scope, self.patterns[i].family) for i in pattern_ids}:
            self.mark(scope, family)

    def unlearn(self, episode: Episode) -> tuple[list[UUID], set[UUID]]:
        """Take the episode's evidence away: the patterns that are gone, and the episodes that are due once more."""
        self.extractions.pop(episode.id, None)
        gone = {pair for pair in self.evidence if pair[1] == episode.id}
        if not gone:
            return [], set()
        self._replace_evidence(gone, ())
        self.mark(Scope(episode.scope.namespace, project_id=episode.scope.project_id), None)
        touched = {pattern_id for pattern_id, _ in gone}
        merged = touched & set(self.merged.values())
        parts = merged | {alias for alias, target in self.merged.items() if target in merged}
        again = {pair for pair in self.evidence if pair[0] in parts}
        for pair in again:
            del self.evidence[pair]
        return self.delete_without_evidence(touched), {episode_id for _, episode_id in again}

    def delete_without_evidence(self, ids: Iterable[UUID]) -> list[UUID]:
        going = [i for i in ids if i in self.patterns and not any(pair[0] == i for pair in self.evidence)]
        for pattern_id in going:
            for alias in [a for a, target in self.merged.items() if target == pattern_id]:
                del self.merged[alias], self.patterns[alias]
            del self.patterns[pattern_id]
        return going

    def move(self, pattern_id: UUID) -> None:
        """Bring the evidence of a pattern that was merged to where it belongs."""
        moved = {pair for pair in self.evidence if pair[0] == pattern_id}
        for pair in moved:
            del self.evidence[pair]
        target = self.merged[pattern_id]
        self.evidence.update(dict.fromkeys((target, episode_id) for _, episode_id in moved))
        if moved:
            self.mark_families([target])

    def shown(self) -> list[Pattern]:
        return [p for p in self.patterns.values() if p.id not in self.merged]

    def supporters(self, pattern: Pattern) -> set[UUID]:
        return {episode_id for pattern_id, episode_id in self.evidence if pattern_id == pattern.id}

    def with_evidence(self, pattern: Pattern) -> Pattern:
        mine = self.supporters(pattern)
        rivals = [p for p in self.shown() if p.family == pattern.family and p.id != pattern.id]
        theirs = {episode_id for rival in rivals for episode_id in self.supporters(rival)} - mine
        return replace(pattern, supporting_episodes=_newest(mine), contradicting_episodes=_newest(theirs))


def _newest(ids: Collection[UUID]) -> tuple[UUID, ...]:
    return tuple(sorted(ids, reverse=True))


def _counted(pattern: Pattern) -> Pattern:
    """With the numbers of the episodes in place of their ids."""
    mine, theirs = len(pattern.supporting_episodes), len(pattern.contradicting_episodes)
    return replace(pattern, supporters=mine, contradictors=theirs, supporting_episodes=(), contradicting_episodes=())


class _HasBooks(Protocol):
    """A session of the twin; only writers change anything."""

    @property
    def _books(self) -> Books: ...

    def _change(self, change: Callable[[Books], _Answer]) -> _Answer: ...


class LearningReader:
    """See `PatternReader`."""

    async def first_steps(self: _HasBooks, episode_ids: Sequence[UUID], limit: int) -> Mapping[UUID, Sequence[Json]]:
        steps = self._books.steps
        return {i: [step.content for step in steps[i][:limit]] for i in episode_ids if steps.get(i)}

    async def list_patterns(self: _HasBooks, query: PatternQuery) -> tuple[Pattern, ...]:
        whose = Scope(query.scope.namespace, project_id=query.scope.project_id)
        books = self._books.learning
        found = (p for p in books.shown() if p.weighed_at is not None and whose.admits(p.scope))
        wanted = (p for p in found if query.kind in {None, p.kind} and query.state in {None, p.state})
        sure = (p for p in wanted if p.confidence >= query.min_confidence and (query.after is None or p.id > query.after))
        return tuple(books.with_evidence(p) for p in sorted(sure, key=lambda p: p.id)[: query.limit])

    async def learning_status(self: _HasBooks) -> LearningStatus:
        books = self._books.learning
        waiting = [due.created_at for due in books.extractions.values() if not due.is_dead]
        shown = [p.state for p in books.shown() if p.weighed_at is not None]
        counted = {state: shown.count(state) for state in PatternState}
        dead = len(books.extractions) - len(waiting)
        return LearningStatus(len(waiting), dead, len(books.marks), min(waiting, default=None), counted)

    async def stale_scopes(self: _HasBooks, limit: int, *, namespace: str | None = None) -> tuple[StaleScope, ...]:
        marks: dict[Scope, list[int]] = {}
        for mark, (scope, family) in sorted(self._books.learning.marks.items()):
            if family is None and namespace in {None, scope.namespace}:
                marks.setdefault(scope, []).append(mark)
        return tuple(StaleScope(scope, tuple(found)) for scope, found in marks.items())[:limit]


class LearningWriter(LearningReader):
    """See `PatternWriter`. Of two writers that claim the same at once, both get it here: whoever settles first has it."""

    async def claim_extractions(
        self: _HasBooks, limit: int, *, lease: timedelta, now: datetime, namespace: str | None = None
    ) -> tuple[Extraction, ...]:
        def claim(books: Books) -> tuple[Extraction, ...]:
            mine = (due for due in books.learning.extractions.values() if namespace in {None, due.extraction.namespace})
            due = sorted((d for d in mine if d.is_due(now)), key=lambda d: d.extraction.generation)[:limit]
            return tuple(_claimed(books.learning, one, now + lease) for one in due)

        return self._change(claim)

    async def learn(self: _HasBooks, lessons: Sequence[Lesson]) -> frozenset[UUID]:
        def learn(books: Books) -> frozenset[UUID]:
            own = [lesson for lesson in lessons if books.learning.holds(lesson.extraction)]
            for lesson in own:
                del books.learning.extractions[lesson.extraction.episode_id]
                owner = books.episodes[lesson.extraction.episode_id].scope
                books.learning.learn(lesson, Scope(owner.namespace, project_id=owner.project_id))
            return frozenset(lesson.extraction.episode_id for lesson in own)

        return self._change(learn)

    async def release_extractions(
        self: _HasBooks, extractions: Sequence[Extraction], *,
        error: str,  # noqa: ARG002 - nobody can ask for it here
        next_attempt_at: datetime, failures: int = 0, is_dead: bool = False,
    ) -> None:  # fmt: skip
        def release(books: Books) -> None:
            for given in filter(books.learning.holds, extractions):
                due = books.learning.extractions[given.episode_id]
                failed = replace(due.extraction, failures=due.extraction.failures + failures)
                books.learning.extractions[given.episode_id] = Due(failed, due.created_at, next_attempt_at, None, is_dead)

        self._change(release)

    async def retry_extractions(self: _HasBooks, now: datetime, *, namespace: str | None = None) -> int:
        def retry(books: Books) -> int:
            dead = {i: due for i, due in books.learning.extractions.items() if due.is_dead}
            mine = {i: due for i, due in dead.items() if namespace in {None, due.extraction.namespace}}
            for episode_id, due in mine.items():
                revived = replace(due.extraction, attempts=0, failures=0)
                books.learning.extractions[episode_id] = Due(revived, due.created_at, now)
            return len(mine)

        return self._change(retry)

    async def take_stale(self: _HasBooks, limit: int, *, namespace: str | None = None) -> tuple[Pattern, ...] | None:
        def take(books: Books) -> tuple[Pattern, ...] | None:
            kept = books.learning
            stale = [f for _, (scope, f) in sorted(kept.marks.items()) if f and namespace in {None, scope.namespace}]
            families = set(stale[:limit])
            kept.marks = {i: mark for i, mark in kept.marks.items() if mark[1] not in families or mark[1] is None}
            for alias in [i for i in kept.merged if kept.patterns[i].family in families]:
                kept.move(alias)
            found = sorted((p for p in kept.shown() if p.family in families), key=lambda p: p.id)
            return tuple(_counted(kept.with_evidence(p)) for p in found) if families else None

        return self._change(take)

    async def with_evidence(self: _HasBooks, patterns: Sequence[Pattern]) -> tuple[Pattern, ...]:
        return tuple(self._books.learning.with_evidence(p) for p in patterns)

    async def similar_patterns(self: _HasBooks, patterns: Sequence[Pattern], limit: int) -> Mapping[UUID, Sequence[Pattern]]:
        found = {given.id: _similar(self._books.learning.shown(), given)[:limit] for given in patterns}
        return {of_id: others for of_id, others in found.items() if others}

    async def save_patterns(self: _HasBooks, patterns: Sequence[Pattern]) -> None:
        decided = ("confidence", "supporters", "contradictors", "state", "weighed_at")

        def save(books: Books) -> None:
            for pattern in patterns:
                values: dict[str, Any] = {name: getattr(pattern, name) for name in decided}
                books.learning.patterns[pattern.id] = replace(books.learning.patterns[pattern.id], **values)

        self._change(save)

    async def merge_pattern(self: _HasBooks, pattern: Pattern, into: Pattern) -> None:
        def merge(books: Books) -> None:
            kept = books.learning
            kept.patterns[pattern.id] = replace(
                kept.patterns[pattern.id], description="", premise=(), conclusion=(), words=(), content={}
            )
            kept.merged |= {alias: into.id for alias, target in kept.merged.items() if target == pattern.id}
            kept.merged[pattern.id] = into.id
            kept.move(pattern.id)

        self._change(merge)

    async def delete_patterns(self: _HasBooks, ids: Sequence[UUID]) -> None:
        self._change(lambda books: books.learning.delete_without_evidence(ids))

    async def settle_scope(self: _HasBooks, stale: StaleScope) -> None:
        def settle(books: Books) -> None:
            books.learning.marks = {i: mark for i, mark in books.learning.marks.items() if i not in stale.marks}

        self._change(settle)


def _claimed(books: LearningBooks, due: Due, leased_until: datetime) -> Extraction:
    known = due.extraction
    claimed = replace(known, generation=books.next_generation(), attempts=known.attempts + 1)
    books.extractions[known.episode_id] = replace(due, extraction=claimed, leased_until=leased_until)
    return claimed


def _is_before(one: Pattern, other: Pattern) -> bool:
    return one.weighed_at is not None or (one.first_seen_at, one.id) < (other.first_seen_at, other.id)


def _similar(shown: Iterable[Pattern], given: Pattern) -> list[Pattern]:
    others = (p for p in shown if p.id != given.id and (p.kind, p.scope) == (given.kind, given.scope) and _is_before(p, given))
    return sorted((p for p in others if p.gist == given.gist or _shares_words(p, given)), key=lambda p: (p.first_seen_at, p.id))


def _shares_words(one: Pattern, other: Pattern) -> bool:
    shared = len({*one.words} & {*other.words})
    return shared > 0 and 4 * shared >= 3 * max(len(one.words), len(other.words))
