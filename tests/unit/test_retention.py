"""Retention: what is retired, archived and deleted, what is spared, and a dry run that tells it all beforehand."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from factories import Tiers, append, consolidation_of, drain_of, episodes_of, history_of, outbox_of, recall_of, tiers
from given import NOW, SESSION, episode, filed, knowledge, message, stored
from hypothesis import given
from hypothesis import strategies as st

from app.consolidation.retention import Retention, RetentionPolicy
from app.records import Episode, EpisodeKind, Query, Scope, SessionKey, Tier
from app.testing.faults import away, troubled

DAY = timedelta(days=1)
POLICY = RetentionPolicy(sessions=30 * DAY, archive_after=10 * DAY, delete_after=20 * DAY, batch=2)
NOTHING = {
    "sessions_retired": 0, "episodes_deleted": 0, "messages_deleted": 0, "episodes_archived": 0, "messages_archived": 0,
}  # fmt: skip


def retention_of(tiers: Tiers, policy: RetentionPolicy = POLICY) -> Retention:
    return Retention(tiers.episodic, policy=policy, clock=tiers.clock)


async def counted(tiers: Tiers, policy: RetentionPolicy = POLICY) -> dict[str, int]:
    """What a run did, apart from nothing; the dry run before it has to have said the same."""
    predicted = await retention_of(tiers, policy).run(dry_run=True)
    done = await retention_of(tiers, policy).run()
    assert (predicted.counts, predicted.errors) == (done.counts, done.errors)
    return {what: count for what, count in done.counts.items() if count}


async def conversation(tiers: Tiers, *contents: str, session: SessionKey = SESSION) -> Episode:
    """A closed and indexed conversation of these messages."""
    await append(tiers, *contents, session=session)
    await drain_of(tiers).end(session)
    await consolidation_of(tiers).run()
    return (await episodes_of(tiers, Scope(session.namespace, session_id=session.session_id)))[-1]


async def found(tiers: Tiers) -> set[str]:
    return {h.text for h in (await recall_of(tiers).recall(Query("key", Scope(SESSION.namespace), limit=100))).hits}


async def archived_of(tiers: Tiers) -> tuple[Episode, ...]:
    async with tiers.episodic.reading() as reader:
        return await reader.list_episodes(Scope(SESSION.namespace), kind=None, before=None, limit=99, archived=True)


async def test_an_old_conversation_is_archived_with_its_messages() -> None:
    """It can be read and listed as archived, is neither searched nor in the index, and its messages with it."""
    given = tiers()
    old = await conversation(given, "the key", "the old key")
    given.clock.advance(11 * DAY)
    await conversation(given, "the new key", session=SessionKey("acme", "s2"))
    assert await counted(given) == {"episodes_archived": 1, "messages_archived": 2}
    await consolidation_of(given).run()
    assert await found(given) == {"the new key"}
    assert await archived_of(given) == (replace(old, archived_at=given.clock(), version=old.version + 1),)
    assert [m.content for m in await history_of(given)] == ["the key", "the old key"]
    status = await consolidation_of(given).status()
    assert (await given.semantic.count(), status.drift, await outbox_of(given)) == (2, 0, ())


async def test_an_archived_conversation_is_deleted_with_all_it_holds() -> None:
    """Its time in the archive over, it leaves Postgres with its messages; what the session said later stays."""
    given = tiers()
    old = await conversation(given, "the key")
    given.clock.advance(11 * DAY)
    assert await counted(given) == {"episodes_archived": 1, "messages_archived": 1}
    given.clock.advance(20 * DAY)
    await append(given, "a late key")
    await consolidation_of(given).run()
    assert await counted(given) == {}
    given.clock.advance(timedelta(seconds=1))
    assert await counted(given) == {"episodes_deleted": 1, "messages_deleted": 1}
    async with given.episodic.reading() as reader:
        assert await reader.episode("acme", old.id) is None
    assert [m.content for m in await history_of(given)] == ["a late key"]


async def test_messages_of_a_deleted_episode_leave_a_warm_buffer() -> None:
    """Recent context, which Redis answers, shows nothing that was deleted."""
    given = tiers()
    home = await conversation(given, "the key")
    assert [m.content for m in await given.working.read(SESSION, after=0, limit=9)] == ["the key"]
    async with given.episodic.writing() as tx:
        await tx.save_episode(replace(home, archived_at=NOW - 21 * DAY))
    assert await counted(given) == {"episodes_deleted": 1, "messages_deleted": 1}
    await consolidation_of(given).run()
    assert await given.working.read(SESSION, after=0, limit=9) == ()


async def test_what_is_pinned_or_open_is_never_touched() -> None:
    """However old, a pinned episode is neither archived nor deleted, and an open one is not archived."""
    given, decision = tiers(), EpisodeKind.DECISION
    kept = [
        episode(kind=decision, pinned=True, ended_at=NOW - 99 * DAY),
        episode(kind=decision, pinned=True, ended_at=NOW - 99 * DAY, archived_at=NOW - 99 * DAY),
        episode(is_open=True, ended_at=NOW - 99 * DAY),
        episode(kind=decision, ended_at=NOW - 10 * DAY),
    ]
    await stored(given.episodic, *kept, knowledge(pinned=True))
    assert await counted(given) == {}
    async with given.episodic.reading() as reader:
        everything = await reader.list_episodes(Scope("acme"), kind=None, before=None, limit=9, archived=None)
    assert everything == tuple(reversed(kept))


async def test_by_default_episodes_are_kept_for_ever() -> None:
    """Only session states go unless the operator says more."""
    given = tiers()
    await stored(given.episodic, episode(ended_at=NOW - 9999 * DAY))
    assert await counted(given, RetentionPolicy()) == {}


async def test_sessions_are_retired_after_their_retention() -> None:
    """The archived state of a session quiet for long enough is dropped, once; its messages stay."""
    given = tiers()
    await append(given, "a")
    await consolidation_of(given).run()
    given.clock.advance(29 * DAY)
    assert await counted(given, replace(POLICY, archive_after=None)) == {}
    given.clock.advance(2 * DAY)
    assert await counted(given, replace(POLICY, archive_after=None, session_batch=1)) == {"sessions_retired": 1}
    async with given.episodic.reading() as reader:
        assert await reader.session(SESSION) is None
    assert [m.content for m in await history_of(given)] == ["a"]


async def test_a_dry_run_changes_nothing() -> None:
    """Not even a run is recorded; asked again, it says the same."""
    given = tiers()
    await stored(given.episodic, episode(ended_at=NOW - 99 * DAY))
    expected = NOTHING | {"episodes_archived": 1}
    for _ in range(2):
        assert (await retention_of(given).run(dry_run=True)).counts == expected
    async with given.episodic.reading() as reader:
        assert await reader.runs(9) == ()
    assert (await archived_of(given), await outbox_of(given)) == ((), ())


async def test_a_run_that_did_something_is_recorded() -> None:
    """Among the runs of consolidation, with its counts; one that did nothing is not."""
    given = tiers()
    await stored(given.episodic, episode(ended_at=NOW - 99 * DAY))
    report = await retention_of(given).run()
    await retention_of(given).run()
    async with given.episodic.reading() as reader:
        assert await reader.runs(9) == (report,)


@pytest.mark.parametrize("call", ["archive_episodes", "delete_archived", "delete_expired_sessions"])
async def test_an_interrupted_run_is_gone_on_with(call: str) -> None:
    """A tier that goes away in the middle is named in the report, and the next run does what is left."""
    given = tiers()
    old = [episode(kind=EpisodeKind.TASK, ended_at=NOW - 99 * DAY) for _ in range(3)]
    gone = episode(kind=EpisodeKind.TASK, archived_at=NOW - 99 * DAY)
    await stored(given.episodic, *old, gone)
    async with given.episodic.writing() as tx:
        await tx.end_session(SESSION, NOW - 99 * DAY)
    report = await retention_of(replace(given, episodic=away(given.episodic, Tier.EPISODIC, call))).run()
    assert report.errors == ("episodic tier unavailable: switched off by a test",)
    await retention_of(given).run()
    assert await counted(given) == {}
    assert (len(await archived_of(given)), await episodes_of(given)) == (3, ())


async def test_a_batch_that_is_not_committed_never_was() -> None:
    """Killed in the middle of the second batch, the first is archived and the second is done by the next run."""
    given = tiers()
    await stored(given.episodic, *(episode(kind=EpisodeKind.TASK, ended_at=NOW - 99 * DAY) for _ in range(4)))
    dying = Dying(commits=3)  # those of the two steps that have nothing to do among them
    with pytest.raises(ZeroDivisionError):
        await retention_of(
            replace(given, episodic=troubled(given.episodic, dying)), replace(POLICY, delete_after=None, sessions=None)
        ).run()
    assert len(await archived_of(given)) == 2
    assert await counted(given) == {"episodes_archived": 2}


@given(st.lists(st.tuples(st.integers(0, 40), st.booleans(), st.none() | st.integers(0, 40)), max_size=12))
async def test_a_dry_run_predicts_the_run(ages: list[tuple[int, bool, int | None]]) -> None:
    """Whatever the ages, pins and times in the archive, the dry run's counts are those of the run that follows."""
    given = tiers()
    for number, (ended, pinned, archived) in enumerate(ages):
        home = episode(
            kind=EpisodeKind.TASK,
            ended_at=NOW - ended * DAY,
            pinned=pinned,
            archived_at=None if archived is None else NOW - archived * DAY,
        )
        await filed(given.episodic, [message(number + 1)], home)
    await counted(given)
    assert await counted(given) == {}


class Dying:
    """Dies at the commit after so many of them."""

    def __init__(self, commits: int) -> None:
        self._left = commits

    async def __call__(self, call: str) -> None:
        if call == "commit":
            self._left -= 1
            if self._left < 0:
                raise ZeroDivisionError
