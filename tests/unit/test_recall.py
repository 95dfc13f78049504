"""Recall: all tiers at once, under a deadline, and honest about who did not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeAlias
from uuid import UUID

import pytest
from factories import EVERYWHERE, Tiers, append, consolidation_of, drain_of, indexer_of, ingestion_of, recall_of, tiers
from given import NOW, SESSION, knowledge, queued, stored, upsert

from app.embedding.hashing import HashingEmbedder
from app.errors import EmbedderUnavailable, TierUnavailable
from app.records import (
    Draft,
    Embedded,
    FilterTerm,
    Hit,
    Mode,
    Query,
    Recollection,
    RecordKind,
    Role,
    Scope,
    SessionKey,
    Space,
    Tier,
)
from app.testing.faults import Fault, Hang, away, troubled

Conditions: TypeAlias = dict[str, Any]
"""Fields of a query."""

MINUTE = timedelta(minutes=1)
SHORT = timedelta(milliseconds=200)
ABSENT = EmbedderUnavailable("test", "switched off by a test")
NO_SUCH_WORD = "xylophone"


async def ask(tiers: Tiers, text: str, scope: Scope = EVERYWHERE, **conditions: Any) -> Recollection:
    return await recall_of(tiers).recall(replace(Query(text, scope), **conditions))


async def index(tiers: Tiers) -> None:
    """Consolidate: after that no buffer answers."""
    await consolidation_of(tiers).run()


async def index_unreleased(tiers: Tiers) -> None:
    """Drain and index, but do not tell Redis yet: the messages are in two tiers."""
    await drain_of(tiers).drain(SESSION)
    await indexer_of(tiers).index_batch()


def assert_sums(hits: Sequence[Hit]) -> None:
    assert hits
    for hit in hits:
        assert hit.score == pytest.approx(sum(hit.components.values()))


async def test_what_was_just_said_is_found() -> None:
    """A message is found before anything consolidated it, as itself, in the tier where it is."""
    given = tiers()
    draft = Draft(Role.USER, "the keys are with Rui", name="Ana", id=UUID(int=7), metadata={"room": 4})
    scope = Scope("acme", user_id="ana", session_id="s1")
    await ingestion_of(given).append(scope, [draft])
    recollection = await ask(given, "who has the keys?")
    (hit,) = recollection.hits
    assert hit == Hit(
        UUID(int=7), RecordKind.MESSAGE, "the keys are with Rui", hit.score, hit.components, Tier.WORKING, scope, NOW,
        {"room": 4}, "user", "Ana", 1,
    )  # fmt: skip
    assert recollection.degraded == ()


async def test_what_is_drained_but_not_indexed_is_found() -> None:
    """Between Postgres and the index a message is still found, in the buffer."""
    given = tiers()
    await append(given, "the keys are with Rui", "nothing of interest")
    await drain_of(given).drain(SESSION)
    recollection = await ask(given, "keys")
    assert [(h.text, h.tier) for h in recollection.hits][:1] == [("the keys are with Rui", Tier.WORKING)]


async def test_a_record_in_two_tiers_appears_once() -> None:
    """A message that is indexed while its buffer does not know it yet is one hit."""
    given = tiers()
    await append(given, "the keys are with Rui")
    await index_unreleased(given)
    assert len(await given.working.unindexed(EVERYWHERE, 10)) == 1
    assert [h.text for h in (await ask(given, "keys")).hits] == ["the keys are with Rui"]


async def test_the_same_id_in_two_sessions_is_two_messages() -> None:
    """Ids are a session's own: equal ones of different sessions are different hits."""
    given = tiers()
    for session_id in ("s1", "s2"):
        await ingestion_of(given).append(Scope("acme", session_id=session_id), [Draft(Role.USER, "the keys", id=UUID(int=7))])
    hits = (await ask(given, "keys", is_collapsed=False)).hits
    assert sorted((h.id, h.scope.session_id) for h in hits) == [(UUID(int=7), "s1"), (UUID(int=7), "s2")]


async def test_index_and_buffer_are_ranked_together() -> None:
    """Old and new are one list by falling score, and each score is the sum of its components."""
    given = tiers()
    await append(given, "the red key opens the cellar", "lunch was soup")
    await index(given)
    await append(given, "the blue key opens the cellar door", "supper was soup")
    hits = (await ask(given, "which key opens the cellar door?")).hits
    assert [h.tier for h in hits if "key" in h.text and h.kind is RecordKind.MESSAGE] == [Tier.WORKING, Tier.SEMANTIC]
    assert [h.score for h in hits] == sorted((h.score for h in hits), reverse=True)
    assert_sums(hits)


ANA = Scope("acme", user_id="ana", session_id="s1")
BEN = Scope("acme", user_id="ben", agent_id="bot", session_id="s2", project_id="move")
OTHER = Scope("other", user_id="ana", session_id="s1")


async def said_by_several(tiers: Tiers) -> None:
    """Four messages of three scopes, a minute apart, each with the word `key`."""
    drafts = [
        (ANA, Draft(Role.USER, "key one", name="Ana", metadata={"n": 1, "ok": True})),
        (ANA, Draft(Role.ASSISTANT, "key two", metadata={"n": 2, "ok": 1})),
        (BEN, Draft(Role.USER, "key three", name="Ben", metadata={"n": "1"})),
        (OTHER, Draft(Role.USER, "key four", name="Ana", metadata={"n": 1})),
    ]
    for minute, (scope, draft) in enumerate(drafts):
        await ingestion_of(tiers).append(scope, [replace(draft, created_at=NOW - timedelta(hours=1) + minute * MINUTE)])


def since(minute: int) -> datetime:
    return NOW - timedelta(hours=1) + minute * MINUTE


def only(field: str, *values: str | float) -> Conditions:
    return {"filter": (FilterTerm(field, values),)}


@pytest.mark.parametrize("tier", [Tier.WORKING, Tier.SEMANTIC])
@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({}, {"key one", "key two", "key three"}),
        ({"scope": Scope("other")}, {"key four"}),
        ({"scope": Scope("nobody")}, set()),
        ({"scope": Scope("acme", user_id="ana")}, {"key one", "key two"}),
        ({"scope": Scope("acme", agent_id="bot")}, {"key three"}),
        ({"scope": Scope("acme", session_id="s1")}, {"key one", "key two"}),
        ({"scope": Scope("acme", project_id="move", user_id="ana")}, set()),
        ({"since": since(1)}, {"key two", "key three"}),
        ({"until": since(1)}, {"key one", "key two"}),
        ({"since": since(1), "until": since(1)}, {"key two"}),
        ({"since": since(9)}, set()),
        (only("author", "Ana", "Ben"), {"key one", "key three"}),
        (only("author", "assistant"), {"key two"}),
        (only("role", "assistant"), {"key two"}),
        (only("user_id", "ben"), {"key three"}),
        (only("project_id", "other"), set()),
        (only("metadata.n", 1), {"key one"}),
        (only("metadata.n", "1"), {"key three"}),
        (only("metadata.n", 1, 2), {"key one", "key two"}),
        (only("metadata.ok", True), {"key one"}),
        (only("metadata.ok", 1), {"key two"}),
        (only("metadata.absent", "x"), set()),
        ({"filter": (FilterTerm("role", ("user",)), FilterTerm("metadata.n", (1,)))}, {"key one"}),
        (only("kind", "message"), {"key one", "key two", "key three"}),
        (only("kind", "episode"), set()),
    ],
)  # fmt: skip
async def test_conditions_hold_on_buffers_as_on_the_index(tier: Tier, conditions: Conditions, expected: set[str]) -> None:
    """Scope, filter and times decide the same whether a message is indexed or still in its buffer."""
    given = tiers()
    await said_by_several(given)
    if tier is Tier.SEMANTIC:
        await index(given)
    query = Query("key", EVERYWHERE, kinds=(RecordKind.MESSAGE,))
    recollection = await recall_of(given).recall(replace(query, **conditions))
    assert {(h.text, h.tier) for h in recollection.hits} == {(text, tier) for text in expected}
    assert recollection.degraded == ()


async def test_only_the_kinds_asked_for_are_found() -> None:
    """A search for knowledge looks into no buffer, and finds no message."""
    given, fact = tiers(), knowledge("the key is under the mat")
    await stored(given.episodic, fact)
    async with given.episodic.writing() as tx:
        await tx.enqueue([upsert(fact)])
    await append(given, "key one")
    await index(given)
    await append(given, "key two")
    without_redis = replace(given, working=away(given.working, Tier.WORKING))
    recollection = await ask(without_redis, "key", kinds=(RecordKind.KNOWLEDGE,))
    assert [(h.id, h.kind, h.text) for h in recollection.hits] == [(fact.id, RecordKind.KNOWLEDGE, fact.description)]
    assert recollection.degraded == ()


async def test_the_limit_holds_over_all_tiers() -> None:
    """However many tiers answer, the best `limit` hits are returned."""
    given = tiers()
    await append(given, *(f"key {n}" for n in range(3)))
    await index(given)
    await append(given, *(f"key {n}" for n in range(3, 6)))
    assert len((await ask(given, "key", limit=4)).hits) == 4


async def test_repetitions_in_the_index_do_not_use_up_the_places() -> None:
    """The index is asked for more until other hits fill the places, or there are none."""
    given = tiers()
    await append(given, *["key"] * 20, "the key", "a key")
    await index(given)
    hits = (await ask(given, "key", limit=3)).hits
    assert ({h.text for h in hits}, max(len(h.duplicates) for h in hits)) == ({"key", "the key", "a key"}, 19)


async def test_nothing_found_is_an_empty_answer() -> None:
    """When every tier answers and has nothing, the answer is empty and nothing is degraded."""
    recollection = await ask(tiers(), "anything")
    assert (recollection.hits, recollection.degraded) == ((), ())


async def test_an_index_that_hangs_is_replaced_by_full_text_within_the_deadline() -> None:
    """A stuck index costs the deadline, not the answer: Postgres answers by words and the index is named."""
    given = tiers()
    await append(given, "the keys are with Rui", "lunch was soup")
    await index(given)
    stuck = replace(given, semantic=troubled(given.semantic, Hang("search")))
    recollection = await recall_of(stuck, SHORT).recall(Query("keys", EVERYWHERE, kinds=(RecordKind.MESSAGE,)))
    assert [(h.text, h.tier) for h in recollection.hits] == [("the keys are with Rui", Tier.EPISODIC)]
    assert recollection.degraded == ("semantic",)
    assert recollection.latency_ms < 2 * SHORT.total_seconds() * 1e3
    assert_sums(recollection.hits)


async def test_an_index_that_hangs_takes_nothing_from_the_buffer() -> None:
    """What was just said is ranked by meaning and words while the index is stuck, and only the index is named."""
    given = tiers()
    await append(given, "the keys are with Rui")
    stuck = replace(given, semantic=troubled(given.semantic, Hang("search")), embedder=Waiting())
    recollection = await recall_of(stuck, SHORT).recall(Query("keys", EVERYWHERE))
    (hit,) = recollection.hits
    assert (hit.tier, hit.components["dense"] > 0, recollection.degraded) == (Tier.WORKING, True, ("semantic",))


async def test_an_index_that_is_away_is_replaced_by_full_text() -> None:
    """Without the index Postgres answers by words, in the query's scope, and the index is named."""
    given = tiers()
    await said_by_several(given)
    await index(given)
    dark = replace(given, semantic=away(given.semantic, Tier.SEMANTIC))
    recollection = await ask(dark, "key", Scope("other"), kinds=(RecordKind.MESSAGE,))
    assert [(h.text, h.tier) for h in recollection.hits] == [("key four", Tier.EPISODIC)]
    assert recollection.degraded == ("semantic",)


@pytest.mark.parametrize("trouble", [Fault(ABSENT), Hang("embed")], ids=["away", "hanging"])
@pytest.mark.parametrize("mode", [Mode.HYBRID, Mode.DENSE, Mode.EXACT])
async def test_without_an_embedder_words_answer(mode: Mode, trouble: Fault | Hang) -> None:
    """Without a query vector index and buffer answer by words alone, whatever the mode, and the embedder is named."""
    given = tiers()
    await append(given, "lunch was soup", "the keys are with Rui")
    await index(given)
    await append(given, "the keys are on the table", "supper was soup")
    dark = replace(given, embedder=troubled(given.embedder, trouble))
    query = Query("keys", EVERYWHERE, kinds=(RecordKind.MESSAGE,), mode=mode)
    recollection = await recall_of(dark, SHORT).recall(query)
    assert {(h.text, h.tier) for h in recollection.hits} == {
        ("the keys are with Rui", Tier.SEMANTIC),
        ("the keys are on the table", Tier.WORKING),
    }
    assert recollection.degraded == ("embedder",)
    assert [h.components["dense"] for h in recollection.hits] == [0, 0]


async def test_a_search_by_words_needs_no_embedder() -> None:
    """In sparse mode nothing is embedded, so nothing is missing."""
    given = tiers()
    await append(given, "the keys are with Rui", "lunch was soup")
    dark = replace(given, embedder=troubled(given.embedder, Fault(ABSENT)))
    recollection = await ask(dark, "keys", mode=Mode.SPARSE)
    assert ([h.text for h in recollection.hits], recollection.degraded) == (["the keys are with Rui"], ())


async def test_a_search_by_meaning_uses_no_words() -> None:
    """In dense mode no hit owes anything to a word, in the buffer as in the index."""
    given = tiers()
    await append(given, "the keys are with Rui")
    await index(given)
    await append(given, "the keys are on the table")
    hits = (await ask(given, "keys", mode=Mode.DENSE, kinds=(RecordKind.MESSAGE,))).hits
    assert [(h.components["bm25"], h.components["dense"] > 0) for h in hits] == [(0, True), (0, True)]


async def test_redis_away_is_named() -> None:
    """Without the buffers the index still answers, and Redis is named."""
    given = tiers()
    await append(given, "the keys are with Rui")
    await index(given)
    dark = replace(given, working=away(given.working, Tier.WORKING))
    recollection = await ask(dark, "keys", kinds=(RecordKind.MESSAGE,))
    assert ([h.tier for h in recollection.hits], recollection.degraded) == ([Tier.SEMANTIC], ("working",))


async def test_postgres_is_not_needed_to_recall() -> None:
    """A search that the index answers does not ask Postgres."""
    given = tiers()
    await append(given, "the keys are with Rui")
    await index(given)
    recollection = await ask(replace(given, episodic=away(given.episodic, Tier.EPISODIC)), "keys")
    assert (len(recollection.hits) > 0, recollection.degraded) == (True, ())


async def test_the_buffer_alone_can_answer() -> None:
    """With index and Postgres away, what Redis has is found and both are named."""
    given = tiers()
    await append(given, "the keys are with Rui")
    dark = replace(given, semantic=away(given.semantic, Tier.SEMANTIC), episodic=away(given.episodic, Tier.EPISODIC))
    recollection = await ask(dark, "keys")
    assert ([h.tier for h in recollection.hits], recollection.degraded) == ([Tier.WORKING], ("semantic", "episodic"))


@pytest.mark.parametrize("text", ["keys", NO_SUCH_WORD])
async def test_an_outage_is_never_an_empty_answer(text: str) -> None:
    """With every tier away, or those away that might have had an answer, there is an error instead of nothing."""
    given = tiers()
    await append(given, "the keys are with Rui", session=SessionKey("elsewhere", "s1"))
    dark = replace(given, semantic=away(given.semantic, Tier.SEMANTIC), episodic=away(given.episodic, Tier.EPISODIC))
    with pytest.raises(TierUnavailable):
        await ask(dark, text)
    with pytest.raises(TierUnavailable):
        await ask(replace(dark, working=away(given.working, Tier.WORKING)), text)


async def test_a_buffer_without_an_answer_does_not_hide_an_outage() -> None:
    """When what Redis holds does not answer and nobody else can be asked, that is an error, too."""
    given = tiers()
    await append(given, "the keys are with Rui")
    dark = replace(given, semantic=away(given.semantic, Tier.SEMANTIC), episodic=away(given.episodic, Tier.EPISODIC))
    with pytest.raises(TierUnavailable):
        await ask(dark, NO_SUCH_WORD, mode=Mode.SPARSE)


async def test_a_fallbacks_space_is_asked_beside_the_primarys() -> None:
    """A query embedded in the fallback's space finds its points by vector, and the primary's by words."""
    given = tiers()
    await append(given, "the keys are with Rui")
    await index(given)
    fallen_back = replace(given, embedder=FallenBack())
    await append(fallen_back, "the keys are on the table")
    await index_unreleased(fallen_back)
    hits = (await ask(fallen_back, "keys", kinds=(RecordKind.MESSAGE,))).hits
    assert {(h.text, h.components["dense"] > 0) for h in hits} == {
        ("the keys are with Rui", False),
        ("the keys are on the table", True),
    }


async def test_without_an_embedder_every_space_is_asked() -> None:
    """When nobody embeds the query, what a fallback indexed is found by words as well as what the primary did."""
    given = tiers()
    await append(given, "the keys are with Rui")
    await index(given)
    await append(given, "the keys are on the table")
    await index_unreleased(replace(given, embedder=FallenBack()))
    dark = replace(given, embedder=troubled(given.embedder, Fault(ABSENT)), working=away(given.working, Tier.WORKING))
    recollection = await ask(dark, "keys", kinds=(RecordKind.MESSAGE,))
    assert {h.text for h in recollection.hits} == {"the keys are with Rui", "the keys are on the table"}
    assert set(recollection.degraded) == {"working", "embedder"}


async def test_vectors_of_two_spaces_are_never_compared() -> None:
    """When the chain changes its provider between query and buffer, the buffer is ranked by words alone."""
    given = replace(tiers(), embedder=Recovering())
    await append(given, "the keys are with Rui")
    (hit,) = (await ask(given, "keys")).hits
    assert (hit.components["dense"], hit.components["bm25"] > 0) == (0, True)


class Waiting(HashingEmbedder):
    """Answers after giving way to others, as every real embedder does."""

    async def embed(self, texts: Sequence[str]) -> Embedded:
        await asyncio.sleep(0)
        return await super().embed(texts)


class Recovering(HashingEmbedder):
    """A chain whose primary is away for the query, and back for everything after it."""

    def __init__(self) -> None:
        super().__init__()
        self._spaces_left = [Space("fallback", 384)]

    async def embed(self, texts: Sequence[str]) -> Embedded:
        space = self._spaces_left.pop() if self._spaces_left else self.space
        return replace(await super().embed(texts), space=space)


class FallenBack(HashingEmbedder):
    """A chain whose primary is away: meant for its space, answering in another."""

    async def embed(self, texts: Sequence[str]) -> Embedded:
        return replace(await super().embed(texts), space=Space("fallback", 384))


async def test_knowledge_is_recalled_at_its_time() -> None:
    """What held then, now by default, or whatever its time; what is not active never."""
    given = tiers()
    pieces = [
        knowledge("Ana lives in Porto", valid_to=NOW),
        knowledge("Ana lives in Lisbon", valid_from=NOW),
        knowledge("Ana lives nowhere", is_active=False),
    ]
    await stored(given.episodic, *pieces)
    await queued(given.episodic, *map(upsert, pieces))
    await indexer_of(given).index_batch()
    before, after = NOW - timedelta(seconds=1), NOW + timedelta(days=1)
    asked = [Query("Ana lives", EVERYWHERE, as_of=at) for at in (before, NOW, after)]
    everything = Query("Ana lives", EVERYWHERE, include_superseded=True)
    found = [{hit.text for hit in (await recall_of(given).recall(query)).hits} for query in (*asked, everything)]
    porto, lisbon = "Ana lives in Porto", "Ana lives in Lisbon"
    assert found == [{porto}, {lisbon}, {lisbon}, {porto, lisbon}]
