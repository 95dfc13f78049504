"""The exam of tier 2: items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from given import NOW, SCOPE, outbox_of

from app.ports import EpisodicMemory, FiledItem, ItemSelection, OutboxOp
from app.records import Item, ItemName, ItemTerm, ItemText, LabelPattern, LabelQuery, Operator, RecordKind, Scope

ANA = ("users", "ana")
MINUTE = timedelta(minutes=1)
LATER = NOW + MINUTE


def filed(key: str, value: Mapping[str, Any] | None = None, *texts: str, **fields: Any) -> FiledItem:
    """An item of Ana's with these texts of the field `text`."""
    defaults: dict[str, Any] = {"namespace": "acme", "created_at": NOW, "updated_at": NOW}
    name = ItemName(fields.pop("labels", ANA), key)
    item = Item(name=name, value={} if value is None else value, **(defaults | fields))
    return FiledItem(item, tuple(text_of(item, text, element) for element, text in enumerate(texts)))


def text_of(item: Item, text: str, element: int = 0) -> ItemText:
    return ItemText(item.namespace, item.name, "text", element, text, item.updated_at)


def expiring(key: str, ttl: timedelta = MINUTE, **fields: Any) -> FiledItem:
    return filed(key, None, "gone soon", ttl=ttl, expires_at=NOW + ttl, **fields)


async def save(memory: EpisodicMemory, *items: FiledItem) -> None:
    async with memory.writing() as tx:
        await tx.save_items(items)


def selection(*terms: ItemTerm, labels: tuple[str, ...] = (), now: datetime = NOW) -> ItemSelection:
    return ItemSelection("acme", labels, now, terms)


async def keys(memory: EpisodicMemory, asked: ItemSelection, **page: Any) -> list[str]:
    async with memory.reading() as reader:
        return [item.name.key for item in await reader.select_items(asked, **({"limit": 100} | page))]


def entry(op: OutboxOp, text: ItemText) -> tuple[OutboxOp, RecordKind, object]:
    return (op, RecordKind.ITEM, text.uid)


async def test_an_item_is_there_as_it_was_saved(episodic: EpisodicMemory) -> None:
    """Every kind of JSON comes back as it was; items of other namespaces and labels do not."""
    value = {"text": "näive 🙂\n\\", "n": 2**53, "f": 0.5, "none": None, "deep": [{"a": [True, []]}]}
    one = filed("k", value, ttl=MINUTE, expires_at=LATER)
    await save(episodic, one, filed("k", labels=("users",)), filed("k", namespace="rival"))
    names = [one.item.name, ItemName(ANA, "other"), ItemName(("users", "ana", "k"), "")]
    async with episodic.reading() as reader:
        assert await reader.items("acme", names, now=NOW) == {one.item.name: one.item}
        assert await reader.items("nobody", names, now=NOW) == {}


async def test_saving_again_replaces_all_but_the_beginning(episodic: EpisodicMemory) -> None:
    """An update keeps `created_at`, and its own TTL counts: none is none."""
    first = expiring("k")
    second = filed("k", {"n": 2}, created_at=LATER - timedelta(seconds=1), updated_at=LATER - timedelta(seconds=1))
    await save(episodic, first)
    await save(episodic, second)
    async with episodic.reading() as reader:
        found = await reader.items("acme", [first.item.name], now=LATER)
    assert found == {first.item.name: replace(second.item, created_at=NOW)}


async def test_what_comes_after_an_expired_item_is_new(episodic: EpisodicMemory) -> None:
    """Saved over an item that has expired, but is not swept away yet, an item begins now."""
    await save(episodic, expiring("k"))
    again = filed("k", created_at=LATER, updated_at=LATER)
    await save(episodic, again)
    async with episodic.reading() as reader:
        assert await reader.items("acme", [again.item.name], now=LATER) == {again.item.name: again.item}


async def test_texts_that_changed_are_queued(episodic: EpisodicMemory) -> None:
    """The index is told of texts that are new, other or gone, and not of those that stayed."""
    before, after = filed("k", None, "same", "old", "gone"), filed("k", None, "same", "new")
    await save(episodic, before)
    assert await outbox_of(episodic) == {entry(OutboxOp.UPSERT, text) for text in before.texts}
    async with episodic.writing() as tx:
        await tx.complete_outbox(await tx.claim_outbox(9, lease=MINUTE, now=NOW))
    await save(episodic, after)
    assert await outbox_of(episodic) == {entry(OutboxOp.UPSERT, after.texts[1]), entry(OutboxOp.DELETE, before.texts[2])}
    async with episodic.reading() as reader:
        uids = [text.uid for text in before.texts]
        assert {text.element: text.text for text in await reader.item_texts(uids)} == {0: "same", 1: "new"}
        assert await reader.unindexed_texts(selection()) == (after.texts[1],)
        assert await reader.selected_among(selection(), uids) == {text.uid: text for text in after.texts}
        assert await reader.selected_among(selection(labels=("users", "ben")), uids) == {}
        first = await reader.selected_texts(selection(), after=None, limit=1)
        assert [*first, *await reader.selected_texts(selection(), after=first[0].uid, limit=9)] == sorted(
            after.texts, key=lambda text: text.uid
        )


async def test_deleting_an_item_takes_its_texts(episodic: EpisodicMemory) -> None:
    """Deleted is what is named, in this namespace; the index is told of each text."""
    one, other, theirs = filed("one", None, "a", "b"), filed("other", None, "c"), filed("one", None, "d", namespace="rival")
    await save(episodic, one, other, theirs)
    async with episodic.writing() as tx:
        assert await tx.delete_items("acme", [one.item.name, ItemName(ANA, "never")]) == 1
        assert await tx.delete_items("acme", [one.item.name]) == 0
        assert await tx.items("acme", [one.item.name, other.item.name], now=NOW) == {other.item.name: other.item}
        assert await tx.items("rival", [theirs.item.name], now=NOW) == {theirs.item.name: theirs.item}
    gone = {entry(OutboxOp.DELETE, text) for text in one.texts}
    assert await outbox_of(episodic) == gone | {entry(OutboxOp.UPSERT, text) for text in (*other.texts, *theirs.texts)}


@pytest.mark.parametrize(
    ("term", "matching"),
    [
        (ItemTerm(("v",), Operator.EQ, 1), "one float"),
        (ItemTerm(("v",), Operator.EQ, "1"), "text"),
        (ItemTerm(("v",), Operator.EQ, True), "true"),
        (ItemTerm(("v",), Operator.EQ, None), "null missing"),
        (ItemTerm(("v",), Operator.EQ, [1, {"a": 1}]), "list"),
        (ItemTerm(("v",), Operator.EQ, {"a": {"b": 2}}), "object"),
        (ItemTerm(("v",), Operator.NE, 1), "ten text true null missing list object"),
        (ItemTerm(("v",), Operator.NE, None), "one float ten text true list object"),
        (ItemTerm(("v",), Operator.GT, 1), "ten"),
        (ItemTerm(("v",), Operator.GTE, 1), "one float ten"),
        (ItemTerm(("v",), Operator.LT, 9.5), "one float"),
        (ItemTerm(("v",), Operator.LTE, 10), "one float ten"),
        (ItemTerm(("v",), Operator.GT, "0"), "text"),
        (ItemTerm(("v",), Operator.LT, "Z"), "text"),
        (ItemTerm(("v",), Operator.OBJECT), "object"),
        (ItemTerm(("v", "a", "b"), Operator.EQ, 2), "object"),
        (ItemTerm(("v", "0"), Operator.EQ, 1), ""),
    ],
)
async def test_terms(episodic: EpisodicMemory, term: ItemTerm, matching: str) -> None:
    """Numbers compare as numbers, texts as texts, and what is missing as null, which nothing is above or below."""
    values = {
        "one": 1, "float": 1.0, "ten": 10, "text": "1", "true": True, "null": None, "list": [1, {"a": 1.0}],
        "object": {"a": {"b": 2}},
    }  # fmt: skip
    await save(episodic, filed("missing"), *(filed(key, {"v": value}) for key, value in values.items()))
    assert sorted(await keys(episodic, selection(term))) == sorted(matching.split())


async def test_texts_are_ordered_by_code_points(episodic: EpisodicMemory) -> None:
    """An ordering of texts does not depend on the server's language."""
    await save(episodic, *(filed(text, {"v": text}) for text in ("a", "B", "ä", "2026-01-02")))
    assert await keys(episodic, selection(ItemTerm(("v",), Operator.GT, "a"))) == ["ä"]
    assert sorted(await keys(episodic, selection(ItemTerm(("v",), Operator.LT, "a")))) == ["2026-01-02", "B"]


async def test_labels_begin_whole(episodic: EpisodicMemory) -> None:
    """A prefix is of whole labels, and none of its characters is special."""
    labels = [("a",), ("a", "b"), ("ab",), ("a_",), ("a%", "b"), ("aX",), ("a\x01",), ("b", "a"), ("A",)]
    await save(episodic, *(filed("|".join(path), labels=path) for path in labels))
    assert sorted(await keys(episodic, selection(labels=("a",)))) == ["a", "a|b"]
    assert await keys(episodic, selection(labels=("a_",))) == ["a_"]
    assert await keys(episodic, selection(labels=("a%",))) == ["a%|b"]
    assert await keys(episodic, selection(labels=("a", "b", "c"))) == []
    assert len(await keys(episodic, selection())) == len(labels)


async def test_pages_are_newest_first_and_stay(episodic: EpisodicMemory) -> None:
    """Pages of items, many of one moment, hold each once."""
    await save(episodic, *(filed(f"old{n}") for n in range(5)), filed("new", updated_at=LATER))
    whole = await keys(episodic, selection())
    assert whole[0] == "new"
    assert [key for start in range(0, 7, 2) for key in await keys(episodic, selection(), limit=2, offset=start)] == whole
    known = [ItemName(ANA, key).uid("acme") for key in whole[:4]]
    assert await keys(episodic, selection(), but=known) == whole[4:]


async def test_shared_words_come_first(episodic: EpisodicMemory) -> None:
    """With a text, items that share words with it come first, and all others after them."""
    await save(episodic, filed("fish", {"text": "the fish swims"}), *(filed(f"n{n}", updated_at=LATER) for n in range(2)))
    found = await keys(episodic, selection(), text="fish")
    assert (found[0], sorted(found[1:])) == ("fish", ["n0", "n1"])


async def test_expired_items_are_not_there(episodic: EpisodicMemory) -> None:
    """From the moment on at which it expires, an item is not seen by any reader."""
    item = expiring("k")
    await save(episodic, item)
    uids = [text.uid for text in item.texts]
    async with episodic.reading() as reader:
        for now, count in ((LATER - timedelta(microseconds=1), 1), (LATER, 0)):
            asked = selection(now=now)
            assert len(await reader.items("acme", [item.item.name], now=now)) == count
            assert len(await reader.select_items(asked, limit=9)) == count
            assert len(await reader.selected_among(asked, uids)) == count
            assert len(await reader.selected_texts(asked, after=None, limit=9)) == count
            assert len(await reader.unindexed_texts(asked)) == count
            assert len(await reader.labels(LabelQuery("acme"), now=now)) == count


async def test_refreshing(episodic: EpisodicMemory) -> None:
    """A refreshed item lives for its TTL from then on; one that has expired, or has none, is left as it is."""
    short, long, forever = expiring("short"), expiring("long", 2 * MINUTE), filed("forever")
    await save(episodic, short, long, forever)
    async with episodic.writing() as tx:
        await tx.refresh_items([each.item.uid for each in (short, long, forever)], now=LATER)
    names = [each.item.name for each in (short, long, forever)]
    async with episodic.reading() as reader:
        found = await reader.items("acme", names, now=NOW)
    assert {name.key: item.expires_at for name, item in found.items()} == {
        "short": LATER, "long": LATER + 2 * MINUTE, "forever": None,
    }  # fmt: skip


async def test_sweeping(episodic: EpisodicMemory) -> None:
    """Swept are expired items, some at a time, with their texts; the index is told."""
    going, staying = [expiring("a"), expiring("b", namespace="rival")], expiring("c", 2 * MINUTE)
    await save(episodic, *going, staying)
    async with episodic.writing() as tx:
        assert [await tx.delete_expired_items(LATER, 1) for _ in range(3)] == [1, 1, 0]
        assert await tx.delete_expired_items(NOW, 9) == 0
    assert await keys(episodic, selection()) == ["c"]
    gone = {entry(OutboxOp.DELETE, text) for each in going for text in each.texts}
    assert await outbox_of(episodic) == gone | {entry(OutboxOp.UPSERT, text) for text in staying.texts}


async def labels_of(memory: EpisodicMemory, *patterns: LabelPattern, **further: Any) -> list[str]:
    async with memory.reading() as reader:
        return ["/".join(labels) for labels in await reader.labels(LabelQuery("acme", patterns, **further), now=NOW)]


async def test_labels_are_listed(episodic: EpisodicMemory) -> None:
    """Labels with items under them, in order of code points, each once, cut and in pages as asked."""
    paths = ["a/b/c", "a/b/d/e", "a/b/d/i", "a/b/f", "a/c/f", "ab/c", "é"]
    await save(episodic, *(filed(f"{n}", labels=tuple(path.split("/"))) for path in paths for n in range(2)))
    await save(episodic, filed("k", labels=("hidden",), namespace="rival"))
    assert await labels_of(episodic) == paths
    assert await labels_of(episodic, LabelPattern(("a", "b")), max_depth=3) == ["a/b/c", "a/b/d", "a/b/f"]
    assert await labels_of(episodic, max_depth=1) == ["a", "ab", "é"]
    assert await labels_of(episodic, LabelPattern(("f",), is_suffix=True)) == ["a/b/f", "a/c/f"]
    assert await labels_of(episodic, LabelPattern(("a", "*", "f"))) == ["a/b/f", "a/c/f"]
    assert await labels_of(episodic, LabelPattern(("*", "c"))) == ["a/c/f", "ab/c"]
    assert await labels_of(episodic, LabelPattern(("b", "*"), is_suffix=True)) == ["a/b/c", "a/b/f"]
    assert await labels_of(episodic, LabelPattern(("a",)), LabelPattern(("d", "*"), is_suffix=True)) == ["a/b/d/e", "a/b/d/i"]
    assert await labels_of(episodic, limit=2, offset=1) == paths[1:3]
    async with episodic.writing() as tx:
        await tx.delete_items("acme", [ItemName(("é",), f"{n}") for n in range(2)])
    assert await labels_of(episodic) == paths[:-1]


async def test_a_namespace_is_forgotten_with_its_items(episodic: EpisodicMemory) -> None:
    """Items belong to the namespace alone: a narrower scope leaves them, a namespace takes them along."""
    mine, theirs = filed("k", None, "a"), filed("k", None, "b", namespace="rival")
    await save(episodic, mine, filed("bare"), theirs)
    async with episodic.writing() as tx:
        assert (await tx.count(Scope("acme")))[RecordKind.ITEM] == 2
        assert await tx.uids(RecordKind.ITEM, Scope("acme"), after=None, limit=9) == (mine.texts[0].uid,)
        assert await tx.uids(RecordKind.ITEM, SCOPE, after=None, limit=9) == ()
        assert (await tx.forget(SCOPE))[RecordKind.ITEM] == 0
        assert (await tx.forget(Scope("acme")))[RecordKind.ITEM] == 2
        assert (await tx.count(Scope("acme")))[RecordKind.ITEM] == 0
    assert await outbox_of(episodic) == {entry(OutboxOp.DELETE, mine.texts[0]), entry(OutboxOp.UPSERT, theirs.texts[0])}


async def test_texts_belong_into_the_index(episodic: EpisodicMemory) -> None:
    """A comparison with the index finds each text, with the hash of its content."""
    item = filed("k", None, "a", "b")
    await save(episodic, item)
    async with episodic.reading() as reader:
        found = await reader.indexable([text.uid for text in item.texts])
        assert {row.uid: (row.kind, row.content_sha256) for row in found} == {
            text.uid: (RecordKind.ITEM, text.content_sha256) for text in item.texts
        }
        assert (await reader.status()).indexable[RecordKind.ITEM] == 2
        assert await reader.existing(RecordKind.ITEM, "acme", [t.uid for t in item.texts]) == {t.uid for t in item.texts}


async def test_items_are_listed_with_their_texts(episodic: EpisodicMemory) -> None:
    """A namespace's items come in pages by uid, with the texts that the index has of each."""
    items = sorted([filed("a", None, "1", "2"), filed("b"), expiring("c")], key=lambda each: each.item.uid)
    await save(episodic, *items, filed("d", namespace="rival"))
    async with episodic.reading() as reader:
        assert await reader.list_items("acme", after=None, limit=2) == tuple(items[:2])
        assert await reader.list_items("acme", after=items[1].item.uid, limit=2) == tuple(items[2:])


async def test_claiming_named_records(episodic: EpisodicMemory) -> None:
    """Claimed are the entries of these records, due or not, but none that another worker holds."""
    one, other = filed("one", None, "a"), filed("other", None, "b")
    await save(episodic, one, other)
    asked = [one.texts[0].uid]
    async with episodic.writing() as tx:
        entries = await tx.claim_records(RecordKind.ITEM, asked, lease=MINUTE, now=NOW)
        assert [(e.record_uid, e.attempts) for e in entries] == [(asked[0], 1)]
    async with episodic.writing() as tx:
        assert await tx.claim_records(RecordKind.ITEM, asked, lease=MINUTE, now=NOW) == ()
        await tx.delay_outbox(entries, error="away", next_attempt_at=NOW + timedelta(hours=1))
    async with episodic.writing() as tx:
        assert await tx.claim_records(RecordKind.KNOWLEDGE, asked, lease=MINUTE, now=NOW) == ()
        assert len(await tx.claim_records(RecordKind.ITEM, asked, lease=MINUTE, now=NOW)) == 1
