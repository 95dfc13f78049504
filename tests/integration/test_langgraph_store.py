"""`HybridMemoryStore` on twins and on PostgreSQL: what LangGraph documents, and what its own stores get wrong."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from factories import Tiers, consolidation_of
from given import NOW
from langgraph.store.base import BaseStore, IndexConfig, InvalidNamespaceError, Item, Op, SearchItem, TTLConfig
from stores import GetOp, ListNamespacesOp, MatchCondition, PutOp, SearchOp, service_of, store_of
from structlog.testing import capture_logs

from app.errors import EmbedderUnavailable, InvalidInput, TierUnavailable
from app.integrations.langgraph import HybridMemoryStore
from app.integrations.langgraph.operations import InvalidLabels, InvalidStoreInput
from app.integrations.store_conformance import SPECS, StoreOptions, Verdict, run
from app.integrations.store_conformance.contract import Need
from app.ports import EpisodicMemory
from app.records import Embedded, Scope, Space, Tier
from app.retrieval.items import ItemPolicy
from app.testing.clock import FixedClock
from app.testing.faults import away
from app.testing.working import InMemoryWorkingMemory

ANA = ("users", "ana")
TEXT = IndexConfig(fields=["text"])


@pytest.fixture
def tiers(episodic: EpisodicMemory) -> Tiers:
    clock = FixedClock(NOW)
    return Tiers(clock=clock, working=InMemoryWorkingMemory(clock), episodic=episodic)


@pytest.fixture
async def store(tiers: Tiers) -> HybridMemoryStore:
    return store_of(tiers, index=TEXT)


def keys(found: Sequence[Item]) -> list[str]:
    return [item.key for item in found]


def scored(found: Sequence[SearchItem]) -> list[str]:
    return [item.key for item in found if item.score is not None]


async def indexed(tiers: Tiers) -> None:
    """Bring the index up to date, as the jobs do."""
    await consolidation_of(tiers).run()


async def test_an_item_is_kept(store: HybridMemoryStore, tiers: Tiers) -> None:
    """What is put is got, with its moments; nothing else is there."""
    await store.aput(ANA, "k", {"text": "cats", "n": 1})
    tiers.clock.advance(timedelta(minutes=1))
    await store.aput(ANA, "k", {"n": 2})
    item = Item(value={"n": 2}, key="k", namespace=ANA, created_at=NOW, updated_at=NOW + timedelta(minutes=1))
    assert await store.aget(ANA, "k") == item
    assert [await store.aget(("users",), "k"), await store.aget(ANA, "other"), await store.aget((), "k")] == [None] * 3
    await store.adelete(ANA, "k")
    await store.adelete(ANA, "k")
    assert await store.aget(ANA, "k") is None
    assert await store.alist_namespaces() == []


async def test_values_are_the_stores_own(store: HybridMemoryStore) -> None:
    """What a caller does with a value before or after does not change what is stored; any mapping of JSON is taken."""
    value: dict[str, Any] = {"deep": {"list": [1]}, "tuple": (1, 2), "mapping": MappingProxyType({"a": 1})}
    await store.aput(ANA, "k", value)
    value["deep"]["list"].append(2)
    for _ in range(2):
        item = await store.aget(ANA, "k")
        assert item is not None
        assert item.value == {"deep": {"list": [1]}, "tuple": [1, 2], "mapping": {"a": 1}}
        item.value["deep"]["list"].append(3)


async def test_tenants_do_not_see_each_other(tiers: Tiers) -> None:
    """The same labels and keys in another tenant are other items, also for search, lists and deletes."""
    mine, theirs = store_of(tiers, namespace="acme"), store_of(tiers, namespace="rival")
    await theirs.aput(ANA, "k", {"text": "cats"})
    await mine.adelete(ANA, "k")
    await indexed(tiers)
    assert await mine.aget(ANA, "k") is None
    assert await mine.asearch((), query="cats") == []
    assert await mine.asearch(()) == []
    assert await mine.alist_namespaces() == []
    assert keys(await theirs.asearch((), query="cats")) == ["k"]


async def test_what_was_just_put_is_found(store: HybridMemoryStore, tiers: Tiers) -> None:
    """A search finds an item by its meaning before the index has it, after, and after the next change."""
    await store.aput(ANA, "cat", {"text": "cats sleep"})
    await store.aput(ANA, "fish", {"text": "fish swim"})
    before = await store.asearch(ANA, query="fish swim")
    await indexed(tiers)
    after = await store.asearch(ANA, query="fish swim")
    assert keys(before) == keys(after) == ["fish", "cat"]
    assert [item.score for item in before] == [pytest.approx(item.score, abs=1e-6) for item in after]
    assert before[0].score == pytest.approx(1.0, abs=1e-6)
    await store.aput(ANA, "cat", {"text": "fish swim"})
    await store.aput(ANA, "fish", {"text": "cats sleep"})
    assert keys(await store.asearch(ANA, query="fish swim")) == ["cat", "fish"]
    await indexed(tiers)
    assert keys(await store.asearch(ANA, query="fish swim")) == ["cat", "fish"]


@pytest.mark.parametrize("is_indexed", [True, False])
async def test_no_vector_outlives_its_text(store: HybridMemoryStore, tiers: Tiers, *, is_indexed: bool) -> None:
    """After an update without the field, with other fields, or without an index, the old text finds nothing any more."""
    for key in ("gone", "unindexed", "fewer", "deleted"):
        await store.aput(ANA, key, {"text": "fish swim", "tags": ["fish", "swim"]}, index=["text", "tags[*]"])
    await indexed(tiers)
    await store.aput(ANA, "gone", {"other": "cats"})
    await store.aput(ANA, "unindexed", {"text": "fish swim"}, index=False)
    await store.aput(ANA, "fewer", {"text": "birds", "tags": ["sing"]}, index=["text", "tags[*]"])
    await store.adelete(ANA, "deleted")
    if is_indexed:
        await indexed(tiers)
    found = await store.asearch(ANA, query="fish swim")
    assert (scored(found), sorted(keys(found))) == (["fewer"], ["fewer", "gone", "unindexed"])
    assert found[0].score is not None
    assert found[0].score < 0.5
    assert await tiers.semantic.count() == (2 if is_indexed else 12)


async def test_each_element_has_a_vector(store: HybridMemoryStore, tiers: Tiers) -> None:
    """An item is as near as its nearest element, and found once."""
    notes = [{"text": "cats sleep"}, {"text": "fish swim"}, {"no": "text"}]
    await store.aput(ANA, "both", {"notes": notes}, index=["notes[*].text"])
    await store.aput(ANA, "whole", {"notes": notes}, index=["notes"])
    await indexed(tiers)
    assert await tiers.semantic.count() == 3
    found = await store.asearch(ANA, query="fish swim")
    assert keys(found) == ["both", "whole"]
    assert found[0].score == pytest.approx(1.0, abs=1e-6)
    assert keys(await store.asearch(ANA, query="cats sleep")) == ["both", "whole"]


def value_of(n: int) -> dict[str, Any]:
    """Every third without a text, some with the same one."""
    return {"n": n, "parity": n % 2} | ({} if n % 3 == 0 else {"text": f"{'fish ' * (n % 5)}number {n // 4}"})


@pytest.mark.parametrize("size", [3, 50])
@pytest.mark.parametrize("asked", [{}, {"parity": 1}, {"n": {"$gte": 30}}, {"n": {"$lt": 5}}], ids=str)
@pytest.mark.parametrize("indexed_share", [0, 20, 40])
async def test_pages_are_exact(tiers: Tiers, size: int, asked: dict[str, Any], indexed_share: int) -> None:
    """The pages of a search hold every item that matches exactly once, best first, those without a vector last."""
    store = store_of(tiers, ItemPolicy(compared=8, least=4, page=16), index=TEXT)
    await store.abatch([PutOp(ANA, f"k{n}", value_of(n)) for n in range(indexed_share)])
    await indexed(tiers)
    await store.abatch([PutOp(ANA, f"k{n}", value_of(n)) for n in range(indexed_share, 40)])
    await store.aput(("users", "ben"), "theirs", value_of(1))
    pages = [await store.asearch(ANA, query="fish number", filter=asked, limit=size, offset=o) for o in range(0, 48, size)]
    found = [item for page in pages for item in page]
    matching = list(await store.asearch(ANA, filter=asked, limit=100))
    assert sorted(keys(found)) == sorted(keys(matching))
    scores = [-math.inf if item.score is None else round(item.score, 6) for item in found]
    assert scores == sorted(scores, reverse=True)
    assert sum(score == -math.inf for score in scores) == sum("text" not in item.value for item in matching)


async def test_pages_of_equals_are_exact(tiers: Tiers) -> None:
    """Items that are all equally near are on one page each, however many the index was asked for."""
    store = store_of(tiers, ItemPolicy(least=4, page=64), index=TEXT)
    await store.abatch([PutOp(ANA, f"k{n}", {"text": "fish swim"}) for n in range(30)])
    await indexed(tiers)
    pages = [await store.asearch(ANA, query="fish swim", limit=4, offset=offset) for offset in range(0, 32, 4)]
    assert sorted(item.key for page in pages for item in page) == sorted(f"k{n}" for n in range(30))


async def test_a_point_of_another_text_counts_for_nothing(store: HybridMemoryStore, tiers: Tiers) -> None:
    """Where the index has drifted, an item has no score rather than that of a text it no longer has."""
    await store.aput(ANA, "k", {"text": "fish swim"})
    await indexed(tiers)
    await store.aput(ANA, "k", {"text": "cats sleep"})
    async with tiers.episodic.writing() as tx:
        await tx.complete_outbox(await tx.claim_outbox(9, lease=timedelta(minutes=1), now=NOW))
    found = await store.asearch(ANA, query="fish swim")
    assert [(item.key, item.score) for item in found] == [("k", None)]


async def test_filters(store: HybridMemoryStore) -> None:
    """Filters reach into nested values, combine, and take LangGraph's operators, with and without a query."""
    values: dict[str, dict[str, Any]] = {
        "a": {"n": 2, "m": {"x": "p", "y": 1}},
        "b": {"n": 10, "m": {"x": "q"}},
        "c": {"m": {"x": "p"}},
        "d": {"n": "9"},
    }
    await store.abatch([PutOp(ANA, key, {"text": "cats", **value}) for key, value in values.items()])
    cases: list[tuple[dict[str, Any], str]] = [
        ({"n": {"$gt": 2}}, "b"), ({"n": {"$gte": 2, "$lt": 10}}, "a"), ({"n": 2.0}, "a"), ({"n": {"$ne": 2}}, "bcd"),
        ({"m": {"x": "p"}}, "ac"), ({"m": {"x": "p", "y": {"$gte": 1}}}, "a"), ({"m": {"x": {"$ne": "p"}}}, "b"),
        ({"n": None}, "c"), ({"n": {"$lt": "91"}}, "d"), ({"n": {"$eq": "9"}}, "d"), ({"m": {"x": "p"}, "n": 2}, "a"),
        ({}, "abcd"),
    ]  # fmt: skip
    for asked, matching in cases:
        for query in (None, "cats"):
            assert "".join(sorted(keys(await store.asearch(ANA, query=query, filter=asked)))) == matching, asked


async def test_a_batch(store: HybridMemoryStore) -> None:
    """Results come in the order of the operations; reads see what was there before; the last put for a key counts."""
    await store.aput(ANA, "old", {"text": "cats"})
    results = await store.abatch(
        [
            PutOp(ANA, "new", {"text": "first"}),
            GetOp(ANA, "new"),
            GetOp(ANA, "old"),
            PutOp(ANA, "old", None),
            PutOp(ANA, "new", {"text": "second"}),
            SearchOp(ANA),
            ListNamespacesOp(),
            GetOp(ANA, "old"),
            PutOp(("users", "ben"), "put", {"text": "second"}),
            PutOp(("users", "ben"), "put", None),
        ]
    )
    old = results[2]
    assert isinstance(old, Item)
    assert isinstance(results[5], list)
    assert (old.key, results[7], keys(results[5]), results[6]) == ("old", old, ["old"], [ANA])  # type: ignore[arg-type] # items
    assert [results[n] for n in (0, 1, 3, 4, 8, 9)] == [None] * 6
    assert [(item.key, item.value) for item in await store.asearch(())] == [("new", {"text": "second"})]
    assert await store.abatch([]) == []


async def test_the_same_text_twice_in_a_batch(store: HybridMemoryStore, tiers: Tiers) -> None:
    """Items and fields that say the same are each indexed."""
    await store.abatch([PutOp(ANA, f"k{n}", {"text": "fish swim", "title": "fish swim"}, ["text", "title"]) for n in range(3)])
    await indexed(tiers)
    assert await tiers.semantic.count() == 6
    found = await store.asearch(ANA, query="fish swim")
    assert sorted(keys(found)) == ["k0", "k1", "k2"]
    assert all(item.score == pytest.approx(1.0, abs=1e-6) for item in found)


async def test_namespaces_are_listed(store: HybridMemoryStore) -> None:
    """By prefix and suffix of whole labels with wildcards, cut and in pages; gone with the last item."""
    for path in ("a.b.c", "a.b.d.e", "a.b.d.i", "a.b.f", "a.c.f", "ab.c"):
        await store.aput(tuple(path.split(".")), "k", {})
    assert await store.alist_namespaces(prefix=("a", "b"), max_depth=3) == [("a", "b", "c"), ("a", "b", "d"), ("a", "b", "f")]
    assert await store.alist_namespaces(prefix=("a", "*"), suffix=("f",)) == [("a", "b", "f"), ("a", "c", "f")]
    assert await store.alist_namespaces(suffix=("d", "*")) == [("a", "b", "d", "e"), ("a", "b", "d", "i")]
    assert await store.alist_namespaces(limit=2, offset=4) == [("a", "c", "f"), ("ab", "c")]
    await store.adelete(("ab", "c"), "k")
    assert await store.alist_namespaces(max_depth=1) == [("a",)]
    both = (MatchCondition("prefix", ("a", "b")), MatchCondition("prefix", ("a", "*", "d")))
    assert await store.abatch([ListNamespacesOp(both)]) == [[("a", "b", "d", "e"), ("a", "b", "d", "i")]]


async def test_a_ttl(tiers: Tiers) -> None:
    """An item lives for its minutes from the last write or refreshing read on; then nobody sees it, and it is swept."""
    store = store_of(tiers, index=TEXT, ttl=TTLConfig(default_ttl=10))
    await store.aput(ANA, "default", {"text": "cats"})
    await store.aput(ANA, "own", {"text": "cats"}, ttl=2.5)
    await store.aput(ANA, "forever", {"text": "cats"}, ttl=None)
    tiers.clock.advance(timedelta(minutes=2))
    assert await store.aget(ANA, "own") is not None
    tiers.clock.advance(timedelta(minutes=2))
    assert await store.aget(ANA, "own", refresh_ttl=False) is not None
    tiers.clock.advance(timedelta(minutes=0.5))
    assert await store.aget(ANA, "own") is None
    assert sorted(keys(await store.asearch(ANA, query="cats"))) == ["default", "forever"]
    tiers.clock.advance(timedelta(minutes=9.9))
    assert sorted(keys(await store.asearch(ANA, refresh_ttl=False))) == ["default", "forever"]
    tiers.clock.advance(timedelta(minutes=0.1))
    assert keys(await store.asearch(ANA, query="cats")) == ["forever"]
    assert await store.sweep_ttl() == 2
    assert await store.sweep_ttl() == 0
    await indexed(tiers)
    assert await tiers.semantic.count() == 1


async def test_reads_may_leave_the_ttl_alone(tiers: Tiers) -> None:
    """With `refresh_on_read` off a read does not prolong a life, unless it asks to."""
    store = store_of(tiers, ttl=TTLConfig(default_ttl=1, refresh_on_read=False))
    await store.aput(ANA, "asked", {})
    await store.aput(ANA, "read", {})
    tiers.clock.advance(timedelta(seconds=40))
    await store.aget(ANA, "asked", refresh_ttl=True)
    await store.asearch(ANA)
    tiers.clock.advance(timedelta(seconds=40))
    assert keys(await store.asearch(ANA)) == ["asked"]


async def test_put_again_after_it_expired_an_item_is_new(tiers: Tiers) -> None:
    """What has expired is gone, swept or not: the next item under its name begins anew, and is found."""
    store = store_of(tiers, index=TEXT)
    await store.aput(ANA, "k", {"text": "cats"}, ttl=1)
    tiers.clock.advance(timedelta(minutes=1))
    await store.aput(ANA, "k", {"text": "cats"})
    item = await store.aget(ANA, "k")
    assert item is not None
    assert item.created_at == NOW + timedelta(minutes=1)
    assert keys(await store.asearch(ANA, query="cats")) == ["k"]
    assert await store.sweep_ttl() == 0


async def test_while_the_index_or_the_embedder_is_away(tiers: Tiers) -> None:
    """Puts are taken, searches answer by words, all of it found, and the log says so; later meaning counts again."""
    dark = [
        replace(tiers, embedder=Absent(tiers.embedder.space)),
        replace(tiers, semantic=away(tiers.semantic, Tier.SEMANTIC)),
    ]
    for n, troubled in enumerate(dark):
        store = store_of(troubled, index=TEXT)
        await store.aput(ANA, f"fish{n}", {"text": f"fish swim {n}"})
        await store.aput(ANA, f"cat{n}", {"text": f"cats sleep {n}"})
        with capture_logs() as logs:
            found = await store.asearch(ANA, query="fish")
        assert {item.key for item in found[: n + 1]} == {f"fish{m}" for m in range(n + 1)}
        assert [item.score for item in found] == [None] * 2 * (n + 1)
        assert [(e["event"], e["answered_by"]) for e in logs if e["log_level"] == "warning"] == [
            ("item_search_degraded", "words")
        ]
    found = await store_of(tiers, index=TEXT).asearch(ANA, query="fish swim 0")
    assert found[0].key == "fish0"
    assert len(scored(found)) == 4


async def test_without_postgres_nothing_is_acknowledged(tiers: Tiers) -> None:
    """The truth away, every operation says so."""
    store = store_of(replace(tiers, episodic=away(tiers.episodic, Tier.EPISODIC)), index=TEXT)
    for call in (store.aput(ANA, "k", {}), store.aget(ANA, "k"), store.asearch(ANA, query="x"), store.alist_namespaces()):
        with pytest.raises(TierUnavailable):
            await call


@dataclass
class Absent:
    """An embedder that never answers."""

    space: Space

    async def embed(self, texts: Sequence[str]) -> Embedded:  # noqa: ARG002 - the port's
        raise EmbedderUnavailable("test", "away")

    async def ping(self) -> str:
        raise EmbedderUnavailable("test", "away")


@dataclass
class Bad:
    """An operation that is refused: with which type, naming which field and which limit."""

    op: Any
    kind: type[InvalidInput]
    message: str


BAD = [
    Bad(PutOp((), "k", {}), InvalidLabels, "namespace: must not be empty"),
    Bad(PutOp(("a.b",), "k", {}), InvalidLabels, "namespace: holds 'a.b': .* without periods"),
    Bad(PutOp(("a", ""), "k", {}), InvalidLabels, "namespace: holds ''"),
    Bad(PutOp(("langgraph", "a"), "k", {}), InvalidLabels, "namespace: must not begin with 'langgraph'"),
    Bad(PutOp((3,), "k", {}), InvalidLabels, "namespace: holds 3"),  # type: ignore[arg-type] # meant
    Bad(PutOp("users", "k", {}), InvalidLabels, "namespace: must be a tuple of labels, is a str"),  # type: ignore[arg-type] # meant
    Bad(PutOp(("a\x00b",), "k", {}), InvalidLabels, "namespace: holds"),
    Bad(PutOp(("a\ud800",), "k", {}), InvalidLabels, "namespace: must not hold .* lone surrogate"),
    Bad(PutOp(("a",) * 33, "k", {}), InvalidLabels, "namespace: must be between 0 and 32, is 33"),
    Bad(PutOp(("a" * 1001,), "k", {}), InvalidLabels, "namespace: must have at most 1000 bytes together, have 1001"),
    Bad(GetOp(("a.b",), "k"), InvalidLabels, "namespace: holds"),
    Bad(SearchOp(("a.b",)), InvalidLabels, "namespace_prefix: holds"),
    Bad(ListNamespacesOp((MatchCondition("suffix", ("a.b",)),)), InvalidLabels, "suffix: holds"),
    Bad(ListNamespacesOp((MatchCondition("infix", ("a",)),)), InvalidStoreInput, "match_type: must be prefix or suffix"),  # type: ignore[arg-type] # meant
    Bad(PutOp(ANA, 3, {}), InvalidStoreInput, "key: must be a text, is a int"),  # type: ignore[arg-type] # meant
    Bad(PutOp(ANA, "k" * 1001, {}), InvalidStoreInput, "key: must have at most 1000 characters"),
    Bad(PutOp(ANA, "k", ["a"]), InvalidStoreInput, "value: must be a JSON object, is a list"),  # type: ignore[arg-type] # meant
    Bad(PutOp(ANA, "k", {"at": NOW}), InvalidStoreInput, "value: must be JSON, holds a datetime"),
    Bad(PutOp(ANA, "k", {"n": math.nan}), InvalidStoreInput, "value: must hold finite numbers"),
    Bad(PutOp(ANA, "k", {"n": 2**63}), InvalidStoreInput, "value: must hold integers of at most 64 bits"),
    Bad(PutOp(ANA, "k", {3: "a"}), InvalidStoreInput, "value: must have strings as keys"),  # type: ignore[dict-item] # meant
    Bad(PutOp(ANA, "k", {"t": "a\x00"}), InvalidStoreInput, "value: must not contain NUL"),
    Bad(PutOp(ANA, "k", {"t": "a" * 1_048_576}), InvalidStoreInput, "value: must have at most 1048576 bytes as JSON"),
    Bad(PutOp(ANA, "k", {"a": 1}, index=["a["]), InvalidStoreInput, "index: 'a\\[' is not a path"),
    Bad(PutOp(ANA, "k", {"a": 1}, index="a"), InvalidStoreInput, "index: must be a list of paths"),  # type: ignore[arg-type] # meant
    Bad(PutOp(ANA, "k", {"a": ["x"] * 1001}, index=["a[*]"]), InvalidStoreInput, "index: must be between 0 and 1000, is 1001"),
    Bad(PutOp(ANA, "k", {}, ttl=0), InvalidStoreInput, "ttl: must be minutes above 0 and at most 52560000, is 0"),
    Bad(PutOp(ANA, "k", {}, ttl=-1), InvalidStoreInput, "ttl: must be minutes above 0"),
    Bad(PutOp(ANA, "k", {}, ttl=math.inf), InvalidStoreInput, "ttl: must be minutes above 0"),
    Bad(SearchOp(ANA, limit=-1), InvalidStoreInput, "limit: must be between 0 and 10000, is -1"),
    Bad(SearchOp(ANA, limit=10_001), InvalidStoreInput, "limit: must be between 0 and 10000, is 10001"),
    Bad(SearchOp(ANA, offset=-1), InvalidStoreInput, "offset: must be between 0 and"),
    Bad(SearchOp(ANA, offset=10**12), InvalidStoreInput, "offset: must be between 0 and"),
    Bad(SearchOp(ANA, limit=2.5), InvalidStoreInput, "limit: must be a whole number"),  # type: ignore[arg-type] # meant
    Bad(SearchOp(ANA, {"a": {"$regex": "x"}}), InvalidStoreInput, r"filter.a: has the unknown operator '\$regex': use"),
    Bad(SearchOp(ANA, {"a": {"$gt": 1, "b": 2}}), InvalidStoreInput, "filter.a: has the unknown operator 'b'"),
    Bad(SearchOp(ANA, {"a": {"$gt": [1]}}), InvalidStoreInput, r"filter.a: \$gt compares with a number or a text"),
    Bad(SearchOp(ANA, {"a": {"$lt": None}}), InvalidStoreInput, r"filter.a: \$lt compares"),
    Bad(SearchOp(ANA, {"a": NOW}), InvalidStoreInput, "filter: must be JSON, holds a datetime"),
    Bad(SearchOp(ANA, query=3), InvalidStoreInput, "query: must be a text"),  # type: ignore[arg-type] # meant
    Bad(SearchOp(ANA, query="a\x00"), InvalidStoreInput, "query: must not contain NUL"),
    Bad(ListNamespacesOp(max_depth=0), InvalidStoreInput, "max_depth: must be between 1"),
    Bad(ListNamespacesOp(limit=-1), InvalidStoreInput, "limit: must be between 0"),
    Bad("get", InvalidStoreInput, "ops: must be GetOp"),
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.message[:40])
async def test_what_is_wrong_is_refused(bad: Bad) -> None:
    """Each bad input has its typed error, which names field and limit, in sync and async; nothing beside it is written."""
    clock = FixedClock(NOW)
    store = store_of(Tiers(clock=clock, working=InMemoryWorkingMemory(clock)), index=TEXT)
    ops: list[Op] = [PutOp(ANA, "beside", {}), bad.op]
    for call in (store.abatch(ops), asyncio.to_thread(store.batch, ops)):
        with pytest.raises(bad.kind, match=f"^{bad.message}") as caught:
            await call
        assert isinstance(caught.value, InvalidInput)
        assert isinstance(caught.value, InvalidNamespaceError if bad.kind is InvalidLabels else ValueError)
    assert await store.asearch(()) == []


async def test_a_query_without_an_index_is_refused(tiers: Tiers) -> None:
    """A store that was made without an index says so instead of answering something else; the rest of it works."""
    store = store_of(tiers, index=None)
    await store.aput(ANA, "k", {"text": "cats"}, index=["text"])
    with pytest.raises(InvalidStoreInput, match=r"^query: cannot be answered: this store was made with index=None"):
        await store.asearch(ANA, query="cats")
    assert keys(await store.asearch(ANA)) == ["k"]
    await indexed(tiers)
    assert await tiers.semantic.count() == 0


@pytest.mark.parametrize("name", ["embed", "dims"])
async def test_an_embedder_of_its_own_is_refused(tiers: Tiers, name: str) -> None:
    """Vectors of different models never mix: the memory's settings name the model."""
    with pytest.raises(InvalidStoreInput, match=rf"^index.{name}: must be left out"):
        store_of(tiers, index={name: 384})


async def test_a_bad_default_is_refused(tiers: Tiers) -> None:
    """A default TTL that no item may have is refused when the store is made."""
    with pytest.raises(InvalidStoreInput, match=r"^ttl.default_ttl: must be minutes above 0"):
        store_of(tiers, ttl=TTLConfig(default_ttl=0))


async def test_blocking_calls(store: HybridMemoryStore) -> None:
    """They work from another thread, and from another loop's thread; from the memory's own loop they say what to do."""
    with pytest.raises(asyncio.InvalidStateError, match="use the async ones"):
        store.get(ANA, "k")

    async def within_another_loop() -> Item | None:
        store.put(ANA, "k", {"n": 1})
        await store.aput(ANA, "k", {"n": 2})
        return store.get(ANA, "k")

    item = await asyncio.to_thread(asyncio.run, within_another_loop())
    assert item is not None
    assert item.value == {"n": 2}


def test_a_store_whose_memory_is_closed_says_so() -> None:
    """A call after the loop has ended fails, and does not wait for ever."""

    async def opened() -> BaseStore:
        clock = FixedClock(NOW)
        return store_of(Tiers(clock=clock, working=InMemoryWorkingMemory(clock)))

    store = asyncio.run(opened())
    with pytest.raises(RuntimeError, match="The memory behind this HybridMemoryStore is closed"):
        store.get(ANA, "k")


async def test_forgetting_a_tenant_takes_its_items(tiers: Tiers) -> None:
    """Items go with their namespace, from both tiers, and are counted; another tenant's stay."""
    mine, theirs = store_of(tiers, namespace="acme"), store_of(tiers, namespace="rival")
    for store in (mine, theirs):
        await store.aput(ANA, "k", {"text": "cats"})
        await store.aput(ANA, "bare", {}, index=False)
    await indexed(tiers)
    receipt = await service_of(tiers).forget(Scope("acme"))
    assert receipt.tiers[Tier.EPISODIC].removed == {"item": 2}
    assert (receipt.tiers[Tier.EPISODIC].remaining, receipt.tiers[Tier.SEMANTIC].remaining) == (0, 0)
    assert await mine.asearch((), query="cats") == []
    assert len(await theirs.asearch((), query="cats")) == 2


async def test_scores_are_cosines(store: HybridMemoryStore, tiers: Tiers) -> None:
    """A score is the cosine of the two texts' vectors, whichever side compared them."""
    texts = ["cats sleep", "fish swim", "cats and fish"]
    await store.abatch([PutOp(ANA, text, {"text": text}) for text in texts])
    vectors = (await tiers.embedder.embed([*texts, "fish and cats"])).vectors
    cosines = dict(zip(texts, (vectors[:3] @ vectors[3]).tolist(), strict=True))
    for _ in range(2):
        found = {item.key: item.score for item in await store.asearch(ANA, query="fish and cats")}
        assert found == {key: pytest.approx(cosine, abs=1e-5) for key, cosine in cosines.items()}
        await indexed(tiers)
    assert np.isfinite(vectors).all()


async def test_items_move_with_their_namespace(tiers: Tiers, tmp_path: Path) -> None:
    """An export holds them; imported elsewhere they are the same, found by the same texts, once."""
    service = service_of(tiers)
    store, copy = store_of(tiers, index=TEXT), store_of(tiers, index=TEXT, namespace="copy")
    await store.aput(ANA, "fish", {"text": "fish swim"}, ttl=5)
    await store.aput(ANA, "bare", {"text": "fish swim"}, index=False)
    file = tmp_path / "export.jsonl"
    file.write_bytes(b"".join([portion async for portion in service.export("acme")]))
    reports = [await service.import_file(file, "copy") for _ in range(2)]
    assert [(report.new, report.known) for report in reports] == [({"item": 2}, {}), ({}, {"item": 2})]
    found = await copy.asearch(ANA, query="fish swim", refresh_ttl=False)
    assert [(item.key, item.score is not None) for item in found] == [("fish", True), ("bare", False)]
    tiers.clock.advance(timedelta(minutes=5))
    assert keys(await copy.asearch(ANA)) == ["bare"]


async def test_the_conformance_kit_finds_nothing(episodic: EpisodicMemory) -> None:
    """Every specification holds but those of TTL, which wait for a clock that stands still here."""
    clock = FixedClock(NOW)

    def factory(options: StoreOptions) -> BaseStore:
        tiers = Tiers(clock=clock, working=InMemoryWorkingMemory(clock), episodic=episodic)
        return store_of(tiers, index=None if options.fields is None else IndexConfig(fields=list(options.fields)))

    report = await run(factory, [spec for spec in SPECS if Need.TTL not in spec.needs])
    assert [(o.spec.id, o.mode, o.detail) for o in report.outcomes if o.verdict is not Verdict.PASSED] == []
