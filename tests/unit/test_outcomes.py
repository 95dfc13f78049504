"""How episodes turned out in the course of time."""

from __future__ import annotations

from dataclasses import replace

from factories import tiers
from given import NOW, episode

from app.ingestion.episodes import RecordIngestion
from app.ingestion.limits import Limits
from app.records import EpisodeKind, OutcomeRevision, first_outcome, new_id


async def test_every_earlier_outcome_is_kept() -> None:
    """With when it was recorded and by which call; storing the episode anew with another outcome is a revision, too."""
    given = tiers()
    record, call = episode(kind=EpisodeKind.DECISION, started_at=NOW, ended_at=NOW, outcome={"n": 0}), new_id()
    records = RecordIngestion(given.episodic, limits=Limits(), clock=given.clock)
    await records.store_episode(record)
    await records.record_outcome("acme", record.id, {"n": 1}, None, call=call)
    await records.record_outcome("acme", record.id, {"n": 1}, None)
    await records.change_episode("acme", record.id, lambda e: replace(e, outcome_quality=0.5))
    await records.store_episode(replace(record, outcome=None))
    async with given.episodic.reading() as reader:
        kept = await reader.outcomes(record.id, after=-1, limit=10)
    assert kept == (
        OutcomeRevision(0, {"n": 0}, None, NOW),
        OutcomeRevision(1, {"n": 1}, None, NOW, call),
        OutcomeRevision(2, {"n": 1}, 0.5, NOW),
        OutcomeRevision(3, None, None, NOW),
    )


def test_an_outcome_that_was_never_revised_is_as_old_as_its_episode() -> None:
    """It came with the episode; without one there is no history."""
    assert first_outcome(episode()) == ()
    judged = episode(outcome_quality=0.5)
    assert first_outcome(judged) == (OutcomeRevision(0, None, 0.5, judged.ended_at),)
