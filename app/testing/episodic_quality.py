"""What the in-memory twin of tier 2 says about the quality of episodes and about those that lack something."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, date, datetime
from uuid import UUID

from app.ports import EpisodePlace, OutboxOp
from app.records import Episode, EpisodeKind, Json, QualityCounts, RecordKind
from app.records.quality import TENTHS, tenth_of
from app.testing.episodic_books import Books, Kept, RecordRef


def json_bytes(document: Json) -> int:
    return len(json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode())


def judged(episodes: Iterable[Episode], namespace: str | None) -> list[Episode]:
    """Those that the quality validator has a say about."""
    closed = (e for e in episodes if not e.is_open and e.kind is not EpisodeKind.CONVERSATION)
    return [e for e in closed if namespace in {None, e.scope.namespace}]


def counted(episodes: Iterable[Episode], threshold: float) -> tuple[QualityCounts, ...]:
    projects: dict[str | None, list[float | None]] = {}
    for episode in episodes:
        projects.setdefault(episode.scope.project_id, []).append(episode.quality)
    in_order = sorted(projects.items(), key=lambda item: (item[0] is not None, item[0] or ""))
    return tuple(_counts(project, qualities, threshold) for project, qualities in in_order)


def _counts(project: str | None, qualities: list[float | None], threshold: float) -> QualityCounts:
    known = [quality for quality in qualities if quality is not None]
    tenths = [tenth_of(quality) for quality in known]
    return QualityCounts(
        project_id=project,
        tenths=tuple(tenths.count(n) for n in range(TENTHS)),
        total=sum(known),
        below=sum(quality < threshold for quality in known),
        unscored=len(qualities) - len(known),
    )


def unscored_places(episodes: Iterable[Episode], namespace: str | None) -> list[EpisodePlace]:
    places = [EpisodePlace(e.ended_at, e.id) for e in judged(episodes, namespace) if e.quality is None]
    return sorted(places, key=lambda place: (place.ended_at, place.id))


def episode_upserts(
    books: Books, namespace: str | None, *, now: datetime | None = None, attempted_before: datetime | None = None
) -> list[RecordRef]:
    """Entries that bring episodes into the index, oldest and best first; with times, those that may be claimed then."""
    kept = {ref: one for ref, one in books.outbox.items() if ref[0] is RecordKind.EPISODE and one.entry.op is OutboxOp.UPSERT}
    mine = {ref: one for ref, one in kept.items() if namespace in {None, one.entry.namespace}}
    if now is None or attempted_before is None:
        return list(mine)
    free = [ref for ref, one in mine.items() if ref[1] in books.episodes and _is_free(one, now, attempted_before)]
    return sorted(free, key=lambda ref: (*_precedence(books, ref[1]), mine[ref].entry.id))


def _is_free(kept: Kept, now: datetime, attempted_before: datetime) -> bool:
    is_time = kept.entry.next_attempt_at is None or kept.entry.next_attempt_at <= attempted_before
    return is_time and (kept.leased_until is None or kept.leased_until <= now)


def _precedence(books: Books, episode_id: UUID) -> tuple[date, bool, float]:
    episode = books.episodes[episode_id]
    return episode.ended_at.astimezone(UTC).date(), episode.quality is None, -(episode.quality or 0.0)
