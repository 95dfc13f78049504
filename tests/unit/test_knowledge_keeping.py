"""Knowledge as it is stored, backed, applied, retired and superseded: on the in-memory twin."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from factories import Tiers, outbox_of, tiers
from given import NOW, SCOPE, episode, knowledge, queued, stored, upsert

from app.errors import Conflict, InvalidInput, NotFound, TierUnavailable, VersionMismatch
from app.ingestion.limits import Limits
from app.learning.evidence import moved
from app.learning.knowledge import KnowledgeKeeping
from app.learning.pieces import applied
from app.learning.revisions import changes
from app.ports import OutboxOp
from app.records import (
    Cause,
    EpisodeKind,
    Knowledge,
    KnowledgeHistory,
    KnowledgeKind,
    Origin,
    RecordKind,
    Revision,
    Scope,
    Success,
    Tier,
    new_id,
)
from app.testing.faults import away

LIMITS = Limits(message_bytes=50, document_bytes=100, document_depth=3, label_length=10, evidence_episodes=4)
HOUR = timedelta(hours=1)
NOBODY = UUID(int=1)


def keeping(given: Tiers) -> KnowledgeKeeping:
    return KnowledgeKeeping(given.episodic, limits=LIMITS, clock=given.clock)


async def kept(given: Tiers, piece: Knowledge) -> Knowledge | None:
    async with given.episodic.reading() as reader:
        return await reader.knowledge(piece.scope.namespace, piece.id)


async def revisions_of(given: Tiers, piece: Knowledge) -> Sequence[Revision]:
    async with given.episodic.reading() as reader:
        return await reader.revisions(piece.id, after=0, limit=99)


async def waiting(given: Tiers) -> list[tuple[OutboxOp, RecordKind, UUID]]:
    return [(e.op, e.kind, e.record_uid) for e in await outbox_of(given)]


async def episodes(given: Tiers, count: int, scope: Scope = SCOPE) -> tuple[UUID, ...]:
    """The ids of so many new episodes."""
    made = [episode(kind=EpisodeKind.TASK, scope=scope) for _ in range(count)]
    await stored(given.episodic, *made)
    return tuple(e.id for e in made)


def learned(supporting: tuple[UUID, ...], **fields: Any) -> Knowledge:
    return knowledge("ask first", kind=KnowledgeKind.STRATEGY, origin=Origin.LEARNED, supporting_episodes=supporting, **fields)


# ── storing ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_knowledge_is_stored_and_queued() -> None:
    """The row, its first revision and one outbox entry are there together."""
    given, piece = tiers(), knowledge(content={"who": "Ana"})
    assert await keeping(given).store(piece) == piece
    assert await kept(given, piece) == piece
    assert await waiting(given) == [(OutboxOp.UPSERT, RecordKind.KNOWLEDGE, piece.id)]
    assert await revisions_of(given, piece) == (Revision(1, NOW, Cause.STORED, changes(None, piece)),)


@pytest.mark.parametrize(
    ("piece", "refusal"),
    [
        (knowledge(" "), "description: must not be blank"),
        (knowledge(scope=Scope("")), "namespace: must not be blank"),
        (knowledge(content={"a": float("nan")}), "content: must hold finite numbers"),
        (knowledge(confidence=-0.1), "confidence: must be between 0 and 1, is -0.1"),
        (knowledge(valid_from=NOW, valid_to=NOW - HOUR), "valid_to: must not be before valid_from"),
        (knowledge(valid_to=NOW.replace(tzinfo=None)), "valid_to: must carry a UTC offset"),
        (knowledge(kind=KnowledgeKind.STRATEGY, content={"conditions": "x > 1"}), "content.conditions: must be a list"),
        (knowledge(supporting_episodes=(NOBODY,)), f"supporting_episodes: must be episodes of this .*; not there: {NOBODY}"),
        (knowledge(supporting_episodes=(NOBODY,), contradicting_episodes=(NOBODY,)),
         r"contradicting_episodes\[0\]: episode .* supports it already"),
        (knowledge(supporting_episodes=(NOBODY,) * 5), "supporting_episodes: must name at most 4 episodes, names 5"),
        (learned((NOBODY, NOBODY, NOBODY)), "must name at least 3 distinct episodes for learned knowledge, names 1"),
    ],
)  # fmt: skip
async def test_bad_knowledge_is_refused_by_field(piece: Knowledge, refusal: str) -> None:
    """The refusal names the field and its limit, and nothing was written."""
    given = tiers()
    with pytest.raises(InvalidInput, match=refusal):
        await keeping(given).store(piece)
    assert (await kept(given, piece), await waiting(given)) == (None, [])


async def test_a_fact_may_call_anything_conditions() -> None:
    """Only what tells somebody what to do states when it applies."""
    given, piece = tiers(), knowledge(content={"conditions": "sunny"})
    assert await keeping(given).store(piece) == piece


async def test_what_was_learned_rests_on_episodes_of_its_namespace() -> None:
    """Each counts once; one of another namespace is as absent as one that never was, and is named."""
    given = tiers()
    mine, theirs = await episodes(given, 3), await episodes(given, 1, Scope("rival"))
    with pytest.raises(InvalidInput, match=f"not there: {theirs[0]}$"):
        await keeping(given).store(learned((*mine[:2], *theirs)))
    made = await keeping(given).store(learned((*mine, mine[0])))
    assert (made.supporting_episodes, made.evidence_count) == (mine, 3)


async def test_postgres_lost_half_way_leaves_nothing() -> None:
    """Neither the row nor a revision nor an outbox entry stays."""
    for call in ("save_knowledge", "add_revision", "enqueue", "commit"):
        given, piece = tiers(), knowledge()
        with pytest.raises(TierUnavailable):
            await keeping(replace(given, episodic=away(given.episodic, Tier.EPISODIC, call))).store(piece)
        assert (await kept(given, piece), await revisions_of(given, piece), await waiting(given)) == (None, (), [])


async def test_a_repeated_call_changes_nothing_more() -> None:
    """What a named call does is done once: repeated, it answers with what is there."""
    given, piece, calls = tiers(), knowledge(), [new_id() for _ in range(4)]
    (told,) = await episodes(given, 1)
    keeper = keeping(given)

    async def all_of_them() -> list[Knowledge]:
        return [
            await keeper.store(replace(piece, id=new_id()), call=calls[0]),
            await keeper.apply("acme", piece.id, Success.FAILURE, call=calls[1]),
            await keeper.add_evidence("acme", piece.id, supporting=[told], call=calls[2]),
            await keeper.supersede("acme", piece.id, knowledge("newer"), call=calls[3]),
        ]

    await keeper.store(piece, call=calls[0])
    first, queue = await all_of_them(), await waiting(given)
    again = await all_of_them()
    superseded = await kept(given, piece)
    assert again == [superseded, superseded, superseded, first[3]]
    assert await waiting(given) == queue
    assert len(await revisions_of(given, piece)) == 4


# ── changing ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_change_is_stored_with_its_revision_and_indexed_again() -> None:
    """What a change makes replaces the piece; the revision names the new values alone; no change is no revision."""
    given, piece = tiers(), knowledge()
    await stored(given.episodic, piece)
    assert await keeping(given).change("acme", piece.id, lambda k: replace(k, confidence=k.confidence)) == piece
    assert (await waiting(given), await revisions_of(given, piece)) == ([], ())
    changed = await keeping(given).change(
        "acme", piece.id, lambda k: replace(k, confidence=0.5, valid_to=NOW), expected_version=1
    )
    assert changed == replace(piece, confidence=0.5, valid_to=NOW, version=2)
    expected = {"confidence": 0.5, "valid_to": "2026-05-04T12:00:00+00:00"}
    assert await revisions_of(given, piece) == (Revision(1, NOW, Cause.CHANGED, expected),)
    assert await waiting(given) == [(OutboxOp.UPSERT, RecordKind.KNOWLEDGE, piece.id)]


@pytest.mark.parametrize(
    "field", ["id", "kind", "scope", "created_at", "origin", "times_applied", "supporting_episodes", "supersedes"]
)
async def test_what_a_piece_is_and_what_was_counted_stays(field: str) -> None:
    """Neither its identity nor its evidence can be rewritten."""
    given, piece = tiers(), knowledge()
    await stored(given.episodic, piece)
    other = knowledge("other", kind=KnowledgeKind.PATTERN, scope=Scope("x"), created_at=NOW + HOUR, origin=Origin.LEARNED,
                      times_applied=1, supporting_episodes=(NOBODY,), supersedes=NOBODY)  # fmt: skip
    with pytest.raises(InvalidInput, match=f"{field}: cannot be changed"):
        await keeping(given).change("acme", piece.id, lambda k: replace(k, **{field: getattr(other, field)}))
    assert await kept(given, piece) == piece


async def test_another_version_is_left_alone() -> None:
    """Whoever expects a version that the piece does not have is told the one it has."""
    given, piece = tiers(), knowledge()
    await stored(given.episodic, piece)
    with pytest.raises(VersionMismatch, match="version: the knowledge is at version 1"):
        await keeping(given).change("acme", piece.id, lambda k: replace(k, confidence=0.1), expected_version=2)


@pytest.mark.parametrize(
    "use",
    [
        lambda keeper, i: keeper.change("other", i, lambda k: replace(k, confidence=0.1)),
        lambda keeper, i: keeper.apply("other", i, Success.SUCCESS),
        lambda keeper, i: keeper.add_evidence("other", i, supporting=[NOBODY]),
        lambda keeper, i: keeper.supersede("other", i, knowledge(scope=Scope("other"))),
        lambda keeper, i: keeper.history("other", i, after=0, limit=9),
    ],
)
async def test_another_namespaces_piece_is_not_found(use: Callable[[KnowledgeKeeping, UUID], Awaitable[object]]) -> None:
    """From elsewhere a piece is as absent as one that never was, and stays untouched."""
    given, piece = tiers(), knowledge()
    await stored(given.episodic, piece)
    with pytest.raises(NotFound):
        await use(keeping(given), piece.id)
    assert await kept(given, piece) == piece


# ── evidence ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_evidence_moves_the_confidence() -> None:
    """Each new episode counts like each one before, on its side; one that is known changes nothing."""
    given = tiers()
    ids = await episodes(given, 5)
    piece = await keeping(given).store(learned(ids[:3], confidence=0.8))
    backed = await keeping(given).add_evidence("acme", piece.id, supporting=[ids[0], ids[3]], contradicting=[ids[4]])
    assert backed == replace(
        piece, supporting_episodes=ids[:4], contradicting_episodes=ids[4:], evidence_count=5,
        confidence=moved(0.8, 3, supporting=1, contradicting=1), version=2,
    )  # fmt: skip
    newest = (await revisions_of(given, piece))[-1]
    assert newest.cause is Cause.EVIDENCE
    assert newest.changes["supporting_episodes"] == {"added": [str(ids[3])]}
    assert await keeping(given).add_evidence("acme", piece.id, supporting=[ids[3]]) == backed


async def test_bad_evidence_is_refused() -> None:
    """None at all, an episode that is not there, and one that stands on the other side already."""
    given = tiers()
    good, bad = await episodes(given, 2)
    piece = await keeping(given).store(knowledge(supporting_episodes=(good,)))
    attempts: list[tuple[dict[str, Any], str]] = [
        ({}, "supporting_episodes: must name at least 1 episode"),
        ({"supporting": [NOBODY, bad]}, f"supporting_episodes: must be episodes of this namespace; not there: {NOBODY}$"),
        ({"supporting": [bad], "contradicting": [bad]}, r"contradicting_episodes\[0\]: episode .* supports it already"),
        ({"contradicting": [bad, good]}, r"contradicting_episodes\[1\]: episode .* supports it already"),
    ]
    for evidence, refusal in attempts:
        with pytest.raises(InvalidInput, match=refusal):
            await keeping(given).add_evidence("acme", piece.id, **evidence)
    assert await kept(given, piece) == piece


# ── applying ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_application_counts_and_is_evidence() -> None:
    """Counts, confidence and the side of the episode follow how it went."""
    given = tiers()
    (where,) = await episodes(given, 1)
    piece = await keeping(given).store(knowledge(confidence=0.5))
    told = await keeping(given).apply("acme", piece.id, Success.SUCCESS, episode_id=where)
    assert told == replace(
        piece, times_applied=1, success_count=1, confidence=2 / 3, evidence_count=1,
        supporting_episodes=(where,), version=2,
    )  # fmt: skip
    with pytest.raises(NotFound, match="no episode"):
        await keeping(given).apply("acme", piece.id, Success.SUCCESS, episode_id=NOBODY)


def test_evidence_is_bounded() -> None:
    """An episode is evidence once; of more than the limit the newest stay; the other side is not touched."""
    first, second, third = (new_id() for _ in range(3))
    piece = knowledge()
    for episode_id in (first, second, second, third, None):
        piece = applied(piece, Success.SUCCESS, episode_id, most_episodes=2)
    piece = applied(piece, Success.FAILURE, first, most_episodes=2)
    assert (piece.supporting_episodes, piece.contradicting_episodes) == ((second, third), (first,))
    assert (piece.times_applied, piece.success_count, piece.failure_count, piece.success_rate) == (6, 5, 1, 5 / 6)


async def failed(given: Tiers, piece: Knowledge, times: int) -> Knowledge:
    for _ in range(times):
        piece = await keeping(given).apply("acme", piece.id, Success.FAILURE)
    return piece


async def test_what_fails_too_often_retires_itself() -> None:
    """After five failures it is no longer active, says why, and is queued to leave the index."""
    given = tiers()
    piece = await keeping(given).store(knowledge(kind=KnowledgeKind.STRATEGY))
    doubtful = await failed(given, piece, 4)
    retired = await failed(given, piece, 1)
    assert (doubtful.is_active, doubtful.inactive_reason, retired.is_active) == (True, None, False)
    assert (retired.inactive_reason or "").startswith("retired: succeeded in 0 of 5 applications")
    assert (await revisions_of(given, piece))[-1].cause is Cause.RETIRED
    assert await waiting(given) == [(OutboxOp.UPSERT, RecordKind.KNOWLEDGE, piece.id)]


async def test_what_is_made_active_by_hand_gets_another_chance() -> None:
    """It retires again only after as many applications as anything else, and a new piece is not the worse for it."""
    given = tiers()
    piece = await keeping(given).store(knowledge())
    await failed(given, piece, 5)
    back = await keeping(given).change("acme", piece.id, lambda k: replace(k, is_active=True))
    assert (back.is_active, back.inactive_reason, back.applied_when_activated) == (True, None, 5)
    assert [(await failed(given, piece, 4)).is_active, (await failed(given, piece, 1)).is_active] == [True, False]


async def test_what_is_deactivated_by_hand_says_so() -> None:
    """With the reason given, or that it was by hand; its counts go on, and it stays inactive."""
    given = tiers()
    piece = await keeping(given).store(knowledge())
    off = await keeping(given).change("acme", piece.id, lambda k: replace(k, is_active=False))
    assert (off.is_active, off.inactive_reason) == (False, "deactivated by hand")
    told = await keeping(given).change("acme", piece.id, lambda k: replace(k, inactive_reason="wrong in winter"))
    used = await keeping(given).apply("acme", piece.id, Success.SUCCESS)
    assert (told.inactive_reason, used.is_active, used.times_applied) == ("wrong in winter", False, 1)


# ── superseding ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_superseding_ends_one_and_begins_the_next() -> None:
    """At one moment, linked both ways, each with its revision and its place in the outbox."""
    given = tiers()
    older = await keeping(given).store(knowledge("lives in Porto"))
    newer = await keeping(given).supersede("acme", older.id, knowledge("lives in Lisbon"))
    ended = replace(older, superseded_by=newer.id, valid_to=NOW, version=2)
    assert (newer.supersedes, newer.valid_from, await kept(given, newer)) == (older.id, NOW, newer)
    assert await kept(given, older) == ended
    assert [piece.holds_at(NOW) for piece in (ended, newer)] == [False, True]
    assert [piece.holds_at(NOW - timedelta(microseconds=1)) for piece in (ended, newer)] == [True, False]
    assert [r.cause for r in await revisions_of(given, older)] == [Cause.STORED, Cause.SUPERSEDED]
    history = await keeping(given).history("acme", newer.id, after=0, limit=9)
    assert history == KnowledgeHistory((ended, newer), (Revision(1, NOW, Cause.STORED, changes(None, newer)),))


async def test_the_change_may_lie_in_the_past_or_in_the_future() -> None:
    """The successor's beginning is the older one's end; what had ended before stays ended then."""
    given = tiers()
    early, late, over = [await keeping(given).store(knowledge(valid_to=end)) for end in (None, None, NOW - 2 * HOUR)]
    for piece, at, expected in ((early, NOW - HOUR, NOW - HOUR), (late, NOW + HOUR, NOW + HOUR), (over, NOW, NOW - 2 * HOUR)):
        await keeping(given).supersede("acme", piece.id, knowledge("next", valid_from=at))
        found = await kept(given, piece)
        assert found is not None
        assert found.valid_to == expected


async def test_a_bad_successor_is_refused_and_nothing_is_written() -> None:
    """A beginning before the older one's, an end before its own beginning, too few supporters."""
    given = tiers()
    older = await keeping(given).store(knowledge(valid_from=NOW))
    attempts = [
        (knowledge("next", valid_from=NOW - HOUR), "valid_from: must not be before that of what it supersedes"),
        (knowledge("next", valid_to=NOW - HOUR), "valid_to: must not be before valid_from"),
        (learned(()), "supporting_episodes: must name at least 3"),
        (knowledge("next", supporting_episodes=(NOBODY,)), "supporting_episodes: must be episodes of this namespace"),
    ]
    for successor, refusal in attempts:
        with pytest.raises(InvalidInput, match=refusal):
            await keeping(given).supersede("acme", older.id, successor)
        assert (await kept(given, older), await kept(given, successor)) == (older, None)


async def test_a_piece_is_superseded_once() -> None:
    """A second successor is refused with the name of the first; so is an id that is taken."""
    given = tiers()
    keeper = keeping(given)
    older, other = await keeper.store(knowledge("one")), await keeper.store(knowledge("other"))
    newer = await keeper.supersede("acme", older.id, knowledge("two"))
    with pytest.raises(Conflict, match=f"superseded_by: is {newer.id} already"):
        await keeper.supersede("acme", older.id, knowledge("three"))
    with pytest.raises(Conflict, match=f"superseded_by: is {newer.id} already"):
        await keeper.change("acme", older.id, superseding(other.id))
    with pytest.raises(Conflict, match=f"superseded_by: supersedes {older.id} already"):
        await keeper.change("acme", other.id, superseding(newer.id))
    with pytest.raises(Conflict, match="id: is taken"):
        await keeper.supersede("acme", newer.id, replace(other, description="again"))


async def test_supersession_runs_in_no_circle() -> None:
    """Neither back to itself, nor to what it superseded, nor to something that does not exist here."""
    given = tiers()
    keeper = keeping(given)
    first = await keeper.store(knowledge("first"))
    second = await keeper.supersede("acme", first.id, knowledge("second"))
    third = await keeper.supersede("acme", second.id, knowledge("third"))
    theirs = knowledge(scope=Scope("other"))
    await stored(given.episodic, theirs)
    for successor in (first.id, second.id, third.id, theirs.id, NOBODY):
        with pytest.raises(InvalidInput, match="superseded_by: must"):
            await keeper.change("acme", third.id, superseding(successor))
    with pytest.raises(InvalidInput, match="superseded_by: must not be a piece that it supersedes itself"):
        await keeper.supersede("acme", third.id, replace(first, description="again"))
    assert await kept(given, third) == third


async def test_what_is_there_already_can_supersede() -> None:
    """A change that names it links both, and ends the older piece now unless it says when; taking it back unlinks them."""
    given = tiers()
    keeper = keeping(given)
    older, newer = await keeper.store(knowledge("older")), await keeper.store(knowledge("newer"))
    linked = await keeper.change("acme", older.id, superseding(newer.id))
    assert linked == replace(older, superseded_by=newer.id, valid_to=NOW, version=2)
    assert await kept(given, newer) == replace(newer, supersedes=older.id, version=2)
    freed = await keeper.change("acme", older.id, lambda k: replace(k, superseded_by=None, valid_to=None))
    assert freed == replace(older, version=3)
    assert await kept(given, newer) == replace(newer, version=3)


def superseding(successor: UUID) -> Callable[[Knowledge], Knowledge]:
    return lambda piece: replace(piece, superseded_by=successor)


async def test_only_what_the_index_is_told_of_is_queued() -> None:
    """A new reason or a pin changes no point."""
    given = tiers()
    piece = knowledge(is_active=False, inactive_reason="wrong")
    await stored(given.episodic, piece)
    await queued(given.episodic, upsert(piece))
    before = await outbox_of(given)
    await keeping(given).change("acme", piece.id, lambda k: replace(k, pinned=True, inactive_reason="quite wrong"))
    assert await outbox_of(given) == before
