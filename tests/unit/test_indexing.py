"""From the outbox into the vector index: everything arrives, or says why it did not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from factories import EVERYWHERE, Tiers, append, drain_of, episodes_of, history_of, indexer_of, outbox_of, tiers
from given import SESSION, episode, filed, knowledge, message, queued, stored, upsert
from hypothesis import given
from hypothesis import strategies as st

from app.consolidation.indexing import Batch, Indexer, IndexingPolicy
from app.embedding.hashing import HashingEmbedder
from app.errors import EmbedderUnavailable, TierUnavailable
from app.ports import IndexQuery, OutboxEntry, OutboxOp, Summary
from app.records import Embedded, Episode, EpisodeKind, Knowledge, Message, RecordKind, Scope, Space, Tier
from app.testing.faults import Fault, away, troubled

SECOND = timedelta(seconds=1)
POLICY = IndexingPolicy(max_attempts=3, retry_base=SECOND, retry_ceiling=4 * SECOND)
FALLBACK = Space("fallback", 384)
DOWN = EmbedderUnavailable("test", "switched off by a test")


async def owed(tiers: Tiers, *records: Episode | Knowledge) -> None:
    """Store records and queue them for the index."""
    await stored(tiers.episodic, *records)
    await queued(tiers.episodic, *map(upsert, records))


async def indexed(tiers: Tiers, space: Space | None = None) -> dict[UUID, str]:
    """The index's points of all kinds: record id to text."""
    query = IndexQuery(EVERYWHERE, (await tiers.embedder.embed(["any"])).vectors[0], None, 1000, tuple(RecordKind))
    candidates = await tiers.semantic.search(space or tiers.embedder.space, query)
    return {c.hit.id: c.hit.text for c in candidates}


async def test_what_is_owed_is_indexed_and_ticked_off() -> None:
    """Messages, closed episodes and knowledge become points, once each, and nothing more is owed."""
    given, fact, deal = tiers(), knowledge("the key is under the mat"), episode(kind=EpisodeKind.DECISION, summary="we move")
    await append(given, "hello", "bye")
    await drain_of(given).end(SESSION)
    await owed(given, fact, deal)
    assert await indexer_of(given).index_batch() == Batch(claimed=5, indexed=5)
    assert await outbox_of(given) == ()
    messages = {m.id: m.content for m in await history_of(given)}
    (conversation,) = (e for e in await episodes_of(given) if e.kind is EpisodeKind.CONVERSATION)
    expected = messages | {fact.id: fact.description, deal.id: "we move", conversation.id: conversation.summary}
    assert await indexed(given) == expected
    assert await given.semantic.count() == 5


async def test_only_what_was_said_is_embedded_through_the_cache() -> None:
    """What may be worded anew is not: nobody could say later which wordings the cache still knows."""
    given, cached = tiers(), Noting()
    await append(given, "hello")
    await owed(given, knowledge("the key is under the mat"), episode(kind=EpisodeKind.DECISION, summary="we move"))
    await drain_of(given).drain(SESSION)
    indexer = Indexer(
        given.episodic, given.semantic, cached, Remembering(),
        policy=POLICY, clock=given.clock, uncached=given.embedder,
    )  # fmt: skip
    assert await indexer.index_batch() == Batch(claimed=3, indexed=3)
    assert set(cached.texts) == {"hello"}
    assert sorted((await indexed(given)).values()) == ["hello", "the key is under the mat", "we move"]


async def test_a_batch_is_of_one_space() -> None:
    """Where the cache answers for a provider that is away, the one at hand embeds all of the batch: nothing waits."""
    given = tiers()
    await append(given, "hello")
    await owed(given, knowledge("the key is under the mat"))
    await drain_of(given).drain(SESSION)
    indexer = Indexer(
        given.episodic, given.semantic, FallenBack(), Remembering(),
        policy=POLICY, clock=given.clock, uncached=given.embedder,
    )  # fmt: skip
    assert await indexer.index_batch() == Batch(claimed=2, indexed=2)
    assert await given.semantic.spaces() == (given.embedder.space,)
    assert sorted((await indexed(given)).values()) == ["hello", "the key is under the mat"]


async def test_nothing_due_is_nothing_done() -> None:
    """An empty outbox asks neither the model nor the index."""
    given = tiers()
    dark = replace(given, semantic=away(given.semantic, Tier.SEMANTIC), embedder=troubled(given.embedder, Fault(DOWN)))
    assert await indexer_of(dark).index_batch() == Batch(0, 0)


async def test_a_batch_is_bounded() -> None:
    """No more than the batch size is claimed at once; the rest waits its turn."""
    given = tiers()
    await owed(given, *(knowledge(f"fact {n}") for n in range(5)))
    indexer = indexer_of(given, IndexingPolicy(batch=2))
    assert [await indexer.index_batch() for _ in range(4)] == [Batch(2, 2), Batch(2, 2), Batch(1, 1), Batch(0, 0)]


async def test_a_closed_conversation_is_summarised_once() -> None:
    """The summary is written into Postgres with its author, and not asked for again."""
    given, summarizer = tiers(), Remembering()
    await append(given, "hello", "bye")
    await drain_of(given).end(SESSION)
    await indexer_of(given, summarizer=summarizer).index_batch()
    (closed,) = await episodes_of(given)
    assert (closed.summary, closed.metadata) == ("of 2 messages", {"summarised_by": "test"})
    await queued(given.episodic, upsert(closed))
    await indexer_of(given, summarizer=summarizer).index_batch()
    assert summarizer.asked == [["hello", "bye"]]
    assert (await indexed(given))[closed.id] == "of 2 messages"


async def test_an_episode_that_is_not_a_conversation_speaks_for_itself() -> None:
    """A decision without a summary is indexed by what was perceived, reasoned, done and what came of it."""
    given, summarizer = tiers(), Remembering()
    deal = episode(kind=EpisodeKind.DECISION, summary="", perception={"asking_price": 10}, outcome={"deal": "yes"})
    await owed(given, deal)
    await indexer_of(given, summarizer=summarizer).index_batch()
    assert await indexed(given) == {deal.id: "perception: asking price 10\noutcome: deal yes"}
    assert summarizer.asked == []


async def test_an_episode_forgotten_while_it_was_summarised_stays_forgotten() -> None:
    """A summary that comes too late brings nothing back, neither the row nor a point."""
    given = tiers()
    await append(given, "a secret")
    await drain_of(given).end(SESSION)

    async def forget() -> None:
        async with given.episodic.writing() as tx:
            await tx.forget(EVERYWHERE)

    await indexer_of(given, summarizer=Remembering(meanwhile=forget)).index_batch()
    assert await episodes_of(given) == ()
    given.clock.advance(timedelta(hours=1))
    await indexer_of(given).index_batch()
    assert (await given.semantic.count(), await outbox_of(given)) == (0, ())


async def test_an_outcome_told_while_the_summary_was_written_is_kept() -> None:
    """An episode that changes under the summarizer keeps the change, and is done again."""
    given = tiers()
    await append(given, "hello")
    await drain_of(given).end(SESSION)
    (closed,) = await episodes_of(given)

    async def tell() -> None:
        await owed(given, replace(closed, outcome={"deal": True}))

    await indexer_of(given, summarizer=Remembering(meanwhile=tell)).index_batch()
    await indexer_of(given, summarizer=Remembering()).index_batch()
    (told,) = await episodes_of(given)
    assert (told.outcome, told.summary) == ({"deal": True}, "of 1 messages")
    assert (await indexed(given))[told.id] == "of 1 messages\noutcome: deal true"


async def test_what_an_overtaking_worker_summarised_and_gave_back_is_indexed() -> None:
    """Of two workers on one episode the one that finds it summarised by the other must not take it for gone."""
    given = tiers()
    await append(given, "hello")
    await drain_of(given).end(SESSION)

    async def overtake() -> None:
        given.clock.advance(timedelta(hours=1))
        other = replace(given, semantic=away(given.semantic, Tier.SEMANTIC))
        assert await indexer_of(other, summarizer=Remembering()).index_batch() == Batch(claimed=2, indexed=0)

    assert await indexer_of(given, summarizer=Remembering(meanwhile=overtake)).index_batch() == Batch(claimed=2, indexed=2)
    (closed,) = await episodes_of(given)
    assert (await indexed(given))[closed.id] == "of 1 messages"
    assert await outbox_of(given) == ()


async def test_a_deleted_record_leaves_the_index() -> None:
    """A delete entry removes the point, and only that."""
    given, gone, kept = tiers(), knowledge("gone"), knowledge("kept")
    await owed(given, gone, kept)
    indexer = indexer_of(given)
    await indexer.index_batch()
    async with given.episodic.writing() as tx:
        await tx.delete_records(RecordKind.KNOWLEDGE, "acme", [gone.id])
    assert await indexer.index_batch() == Batch(1, 1)
    assert (await indexed(given), await outbox_of(given)) == ({kept.id: "kept"}, ())


async def test_inactive_knowledge_leaves_the_index() -> None:
    """What is retired loses its point though its row stays; what is superseded keeps it, to be found by who asks for it."""
    given, bad, old, new = tiers(), knowledge("flies"), knowledge("lives in Rome"), knowledge("lives in Porto")
    await owed(given, bad, old)
    indexer = indexer_of(given)
    await indexer.index_batch()
    await owed(given, new, replace(bad, is_active=False), replace(old, superseded_by=new.id))
    await indexer.index_batch()
    assert (await indexed(given), await outbox_of(given)) == ({old.id: "lives in Rome", new.id: "lives in Porto"}, ())


@pytest.mark.parametrize("kind", list(RecordKind))
async def test_an_entry_for_a_record_that_is_gone_is_done(kind: RecordKind) -> None:
    """What no longer exists is removed from the index, should it be there, and no longer owed."""
    given = tiers()
    await queued(given.episodic, OutboxEntry(OutboxOp.UPSERT, kind, "acme", UUID(int=7)))
    assert await indexer_of(given).index_batch() == Batch(1, 1)
    assert (await given.semantic.count(), await outbox_of(given)) == (0, ())


async def test_an_open_episode_is_not_indexed() -> None:
    """An episode still going on has no point, whoever queued it."""
    given = tiers()
    await owed(given, episode(is_open=True))
    await indexer_of(given).index_batch()
    assert await given.semantic.count() == 0


async def test_changed_content_replaces_the_point() -> None:
    """A record indexed again is one point with the new text."""
    given, fact = tiers(), knowledge("old")
    await owed(given, fact)
    indexer = indexer_of(given)
    await indexer.index_batch()
    await owed(given, replace(fact, description="new"))
    await indexer.index_batch()
    assert (await indexed(given), await given.semantic.count()) == ({fact.id: "new"}, 1)


async def test_a_renewed_entry_outlives_the_work_on_the_older_one() -> None:
    """A record that changes while it is being indexed is still owed afterwards."""
    given, fact = tiers(), knowledge("old")
    await owed(given, fact)

    async def change(call: str) -> None:
        if call == "upsert":
            await owed(given, replace(fact, description="new"))

    await indexer_of(replace(given, semantic=troubled(given.semantic, change))).index_batch()
    (entry,) = await outbox_of(given)
    assert (entry.record_uid, entry.generation) == (fact.id, 2)
    assert await indexer_of(given).index_batch() == Batch(1, 1)
    assert await indexed(given) == {fact.id: "new"}


async def test_a_poison_record_does_not_stop_the_others() -> None:
    """One record that cannot be embedded is tried apart; the other ones of its batch are indexed."""
    given = replace(tiers(), embedder=Choking())
    facts = [knowledge(f"fact {n}") for n in range(7)]
    poison = knowledge("poison")
    await owed(given, *facts[:3], poison, *facts[3:])
    assert await indexer_of(given, POLICY).index_batch() == Batch(claimed=8, indexed=7)
    assert await given.semantic.count() == 7
    (entry,) = await outbox_of(given)
    assert (entry.record_uid, entry.attempts, entry.is_dead) == (poison.id, 1, False)
    assert entry.last_error == "ValueError: cannot swallow this"


async def test_a_poison_record_ends_as_a_dead_letter() -> None:
    """After its attempts a record that fails by itself is given up on, visibly, and not tried again by itself."""
    given = replace(tiers(), embedder=Choking())
    await owed(given, knowledge("poison"))
    indexer = indexer_of(given, POLICY)
    for _ in range(POLICY.max_attempts):
        assert await indexer.index_batch() == Batch(1, 0)
        assert await indexer.index_batch() == Batch(0, 0)
        given.clock.advance(timedelta(minutes=1))
    assert await indexer.index_batch() == Batch(0, 0)
    assert [(e.attempts, e.is_dead) for e in await outbox_of(given)] == [(3, True)]


async def test_a_dead_letter_can_be_replayed() -> None:
    """Once the cause is mended, a retried dead letter is indexed."""
    given, fact = tiers(), knowledge("poison")
    await owed(given, fact)
    choking = indexer_of(replace(given, embedder=Choking()), replace(POLICY, max_attempts=1))
    await choking.index_batch()
    assert len(await outbox_of(given, is_dead=True)) == 1
    async with given.episodic.writing() as tx:
        assert await tx.retry_dead(None, given.clock()) == 1
    await indexer_of(given).index_batch()
    assert (await indexed(given), await outbox_of(given)) == ({fact.id: "poison"}, ())


async def test_attempts_during_an_outage_are_not_held_against_a_record() -> None:
    """A record that fails on its own account after a long outage still has all of its attempts."""
    given = tiers()
    await owed(given, knowledge("poison"))
    dark = indexer_of(replace(given, semantic=away(given.semantic, Tier.SEMANTIC)), POLICY)
    for _ in range(5 * POLICY.max_attempts):
        assert await dark.index_batch() == Batch(1, 0)
        given.clock.advance(timedelta(minutes=1))
    choking = indexer_of(replace(given, embedder=Choking()), POLICY)
    states = []
    for _ in range(POLICY.max_attempts):
        await choking.index_batch()
        states += [(e.failures, e.is_dead) for e in await outbox_of(given)]
        given.clock.advance(timedelta(minutes=1))
    assert states == [(1, False), (2, False), (3, True)]


async def test_what_is_archived_leaves_the_index_whoever_queued_it() -> None:
    """An archived episode and its messages are removed, even by an entry that asks for them to be indexed."""
    given, home = tiers(), episode(summary="old", kind=EpisodeKind.TASK)
    said = message(1, "old")
    await filed(given.episodic, [said], home)
    await queued(given.episodic, upsert(said), upsert(home))
    await indexer_of(given).index_batch()
    assert await given.semantic.count() == 2
    async with given.episodic.writing() as tx:
        await tx.archive_episodes(given.clock() + timedelta(days=1), at=given.clock(), limit=1)
    await queued(given.episodic, upsert(said), upsert(home))
    assert await indexer_of(given).index_batch() == Batch(2, 2)
    assert (await given.semantic.count(), await outbox_of(given)) == (0, ())


OUTAGES = {
    "embedder": lambda given: replace(given, embedder=troubled(given.embedder, Fault(DOWN))),
    "index": lambda given: replace(given, semantic=away(given.semantic, Tier.SEMANTIC)),
}


@pytest.mark.parametrize("outage", OUTAGES)
async def test_an_outage_makes_no_dead_letter(outage: str) -> None:
    """However long model or index are away, everything waits, says why, and is indexed when they are back."""
    given = tiers()
    await owed(given, *(knowledge(f"fact {n}") for n in range(3)))
    indexer = indexer_of(OUTAGES[outage](given), POLICY)
    for _ in range(2 * POLICY.max_attempts):
        assert await indexer.index_batch() == Batch(claimed=3, indexed=0)
        given.clock.advance(timedelta(minutes=1))
    assert [(e.is_dead, "switched off by a test" in str(e.last_error)) for e in await outbox_of(given)] == [(False, True)] * 3
    assert await indexer_of(given, POLICY).index_batch() == Batch(3, 3)
    assert await given.semantic.count() == 3


async def test_postgres_lost_before_the_tick_costs_only_a_repetition() -> None:
    """When entries cannot be ticked off their lease runs out, and doing them again changes nothing."""
    given, fact = tiers(), knowledge("fact")
    await owed(given, fact)
    dark = replace(given, episodic=away(given.episodic, Tier.EPISODIC, "complete_outbox", "delay_outbox"))
    with pytest.raises(TierUnavailable):
        await indexer_of(dark).index_batch()
    assert await indexer_of(given).index_batch() == Batch(0, 0)
    given.clock.advance(IndexingPolicy().lease)
    assert await indexer_of(given).index_batch() == Batch(1, 1)
    assert (await indexed(given), await outbox_of(given)) == ({fact.id: "fact"}, ())


async def test_a_fallbacks_vectors_go_to_its_own_space_and_stay_owed() -> None:
    """Indexed by the fallback a record is findable there, and indexed again once the primary is back."""
    given, fact, gone = tiers(), knowledge("fact"), knowledge("gone")
    await owed(given, fact)
    await queued(given.episodic, OutboxEntry(OutboxOp.DELETE, RecordKind.KNOWLEDGE, "acme", gone.id))
    assert await indexer_of(replace(given, embedder=FallenBack())).index_batch() == Batch(claimed=2, indexed=1)
    assert (await indexed(given, FALLBACK), await indexed(given)) == ({fact.id: "fact"}, {})
    (entry,) = await outbox_of(given)
    assert (entry.record_uid, entry.is_dead, entry.last_error) == (fact.id, False, f"indexed in fallback space {FALLBACK}")
    given.clock.advance(timedelta(minutes=1))
    assert await indexer_of(given).index_batch() == Batch(1, 1)
    assert await indexed(given) == {fact.id: "fact"}


async def test_a_record_lies_in_one_space() -> None:
    """Written into a space it leaves all others, whichever model comes after which, and records that stay are untouched."""
    given, moves, stays = tiers(), knowledge("moves"), knowledge("stays")
    fallen_back = replace(given, embedder=FallenBack())
    await owed(given, moves, stays)
    await indexer_of(fallen_back).index_batch()
    given.clock.advance(timedelta(minutes=1))
    async with given.episodic.writing() as tx:
        await tx.complete_outbox([e for e in await outbox_of(given) if e.record_uid == stays.id])
    assert await indexer_of(given).index_batch() == Batch(1, 1)
    assert (await indexed(given), await indexed(given, FALLBACK)) == ({moves.id: "moves"}, {stays.id: "stays"})
    await owed(given, moves)
    await indexer_of(fallen_back).index_batch()
    assert (await indexed(given), await given.semantic.count(FALLBACK)) == ({}, 2)


async def test_a_message_is_indexed_with_its_author_and_home() -> None:
    """A hit from the index is the message as it was said, under the message's own id."""
    given = tiers()
    said = message(3, "the keys are with Rui", metadata={"room": 4})
    await filed(given.episodic, [said])
    await queued(given.episodic, upsert(said))
    await indexer_of(given).index_batch()
    query = IndexQuery(Scope("acme"), None, "keys", 10, (RecordKind.MESSAGE,))
    (candidate,) = await given.semantic.search(given.embedder.space, query)
    hit = candidate.hit
    assert candidate.point_id == said.uid
    assert (hit.id, hit.text, hit.scope, hit.created_at) == (said.id, said.content, said.scope, said.created_at)
    assert (hit.role, hit.author, hit.sequence, hit.metadata) == ("user", "Ana", 3, {"room": 4})


@given(st.integers(0, 1000), st.floats(0, 1))
def test_retries_wait_longer_but_not_for_ever(attempts: int, chance: float) -> None:
    """The pause grows with the attempts, within half and one and a half of its ceiling."""
    pause = POLICY.retry_after(attempts, chance)
    assert POLICY.retry_base / 2 <= pause <= POLICY.retry_ceiling * 1.5
    assert pause <= POLICY.retry_after(attempts + 1, chance)


def test_retries_double() -> None:
    """One, two, four seconds, and no more than the ceiling, at middling chance."""
    assert [POLICY.retry_after(n, 0.5) for n in range(5)] == [n * SECOND for n in (1, 2, 4, 4, 4)]


class Choking(HashingEmbedder):
    """Cannot embed one text."""

    async def embed(self, texts: Sequence[str]) -> Embedded:
        if "poison" in texts:
            raise ValueError("cannot swallow this")
        return await super().embed(texts)


class FallenBack(HashingEmbedder):
    """A chain whose primary is away: meant for its space, answering in another."""

    async def embed(self, texts: Sequence[str]) -> Embedded:
        return replace(await super().embed(texts), space=FALLBACK)


async def nothing() -> None:
    pass


@dataclass
class Remembering:
    """Says how many messages it was given, remembers them, and lets something happen meanwhile."""

    meanwhile: Any = nothing

    def __post_init__(self) -> None:
        self.asked: list[list[str]] = []

    async def summarize(self, messages: Sequence[Message]) -> Summary:
        self.asked.append([m.content for m in messages])
        await self.meanwhile()
        return Summary(f"of {len(messages)} messages", "test")


class Noting(HashingEmbedder):
    """Remembers what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    async def embed(self, texts: Sequence[str]) -> Embedded:
        self.texts += texts
        return await super().embed(texts)
