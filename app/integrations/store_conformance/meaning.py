"""Specifications: search by meaning, for stores made with an index on the field `text`."""

from __future__ import annotations

from typing import Any

from langgraph.store.base import PutOp, SearchItem

from app.integrations.store_conformance.contract import Basis, Face, Need, equal, everything, holds, spec

DOCUMENTED = Basis.DOCUMENTED
INDEX = Need.INDEX


async def _put(face: Face, key: str, text: str | None, **further: Any) -> None:
    await face.put(face.at("a"), key, further if text is None else {"text": text, **further})


def _scored(found: list[SearchItem]) -> list[str]:
    return [item.key for item in found if item.score is not None]


async def _forgets(face: Face) -> None:
    """`changed` once said "red fish swim", and `near` shares a word of that: the former must not be scored as if it did."""
    await _put(face, "near", "fish")
    found = {item.key: item.score for item in await face.search(face.at("a"), query="red fish swim")}
    score, near = found.get("changed"), found.get("near")
    holds(near is not None, "an indexed item has no score")
    holds(score is None or near is None or score < near, f"the old text still counts: {score} against {near}")


@spec("index.nearest", "A query orders by meaning, best first, with scores.", INDEX, basis=DOCUMENTED)
async def nearest(face: Face) -> None:
    for key, text in {"cats": "cats sleep all day", "fish": "red fish swim", "both": "cats and fish"}.items():
        await _put(face, key, text)
    found = await face.search(face.at("a"), query="red fish swim")
    equal([item.key for item in found], ["fish", "both", "cats"], "order")
    scores = [item.score for item in found if item.score is not None]
    holds(len(scores) == len(found) and scores == sorted(scores, reverse=True), f"scores {scores}")


@spec("index.at_once", "What was just put is found by the next search, and what was changed by its new text.", INDEX)
async def at_once(face: Face) -> None:
    await _put(face, "one", "cats sleep")
    await _put(face, "two", "birds sing")
    equal(await face.keys(face.at("a"), query="cats sleep", limit=1), ["one"], "found")
    await _put(face, "two", "cats sleep soundly")
    await _put(face, "one", "dogs bark")
    equal(await face.keys(face.at("a"), query="cats sleep", limit=1), ["two"], "found after the change")


@spec("index.false", "An item put with `index=False` has no score, whether it is found or not.", INDEX, basis=DOCUMENTED)
async def unindexed(face: Face) -> None:
    await face.put(face.at("a"), "no", {"text": "red fish swim"}, False)
    await _put(face, "yes", "fish")
    equal(_scored(await face.search(face.at("a"), query="red fish swim")), ["yes"], "items with a score")


@spec("index.own_fields", "`index` of a put replaces the store's fields.", INDEX, basis=DOCUMENTED)
async def own_fields(face: Face) -> None:
    await face.put(face.at("a"), "own", {"text": "cats", "other": {"deep": "red fish swim"}}, ["other.deep"])
    await _put(face, "default", "red fish", other={"deep": "cats"})
    equal(await face.keys(face.at("a"), query="red fish swim", limit=1), ["own"], "nearest to the field of its own")
    equal(await face.keys(face.at("a"), query="red fish", filter={"other": {"$ne": None}}, limit=1), ["default"], "nearest")


@spec("index.whole", "`index=['$']` of a put indexes the whole value.", INDEX)
async def whole(face: Face) -> None:
    await face.put(face.at("a"), "whole", {"text": "cats", "other": "red fish swim"}, ["$"])
    await _put(face, "text", "cats dogs")
    equal(await face.keys(face.at("a"), query="red fish swim", limit=1), ["whole"], "nearest")
    holds("whole" in _scored(await face.search(face.at("a"), query="red fish swim")), "the whole value has no vector")


@spec("index.elements", "`a[*].b` indexes each element; an item is found once, by its nearest.", INDEX, basis=DOCUMENTED)
async def elements(face: Face) -> None:
    notes = [{"b": "red fish swim"}, {"b": "cats sleep"}, {"b": "dogs bark"}, {"c": "no b"}]
    await face.put(face.at("a"), "many", {"a": notes}, ["a[*].b"])
    await _put(face, "single", "cats sleep loudly")
    for query in ("cats sleep", "dogs bark", "red fish swim"):
        found = await face.search(face.at("a"), query=query)
        equal(sorted(item.key for item in found), ["many", "single"], "found")
        equal(found[0].key, "many", f"nearest to {query!r}")


@spec("index.update", "After an update the old text finds nothing.", INDEX)
async def updated(face: Face) -> None:
    await _put(face, "changed", "red fish swim")
    await _put(face, "changed", "cats sleep")
    await _forgets(face)


@spec("index.update_false", "After an update with `index=False` the old text finds nothing.", INDEX)
async def updated_unindexed(face: Face) -> None:
    await _put(face, "changed", "red fish swim")
    await face.put(face.at("a"), "changed", {"text": "cats sleep"}, False)
    await _forgets(face)


@spec("index.update_without", "After an update without the field the old text finds nothing.", INDEX)
async def updated_without(face: Face) -> None:
    await _put(face, "changed", "red fish swim")
    await _put(face, "changed", None, other="cats sleep")
    await _forgets(face)


@spec("index.update_shorter", "After an update with fewer elements the elements that are gone find nothing.", INDEX)
async def updated_shorter(face: Face) -> None:
    for texts in (["cats sleep", "dogs bark", "red fish swim"], ["cats sleep", "dogs bark"]):
        await face.put(face.at("a"), "changed", {"tags": texts}, ["tags[*]"])
    await _forgets(face)


@spec("index.deleted", "What was deleted and put again unindexed is not found by its old text.", INDEX)
async def deleted(face: Face) -> None:
    await _put(face, "changed", "red fish swim")
    await face.delete(face.at("a"), "changed")
    await face.put(face.at("a"), "changed", {"text": "cats sleep"}, False)
    await _forgets(face)


@spec("index.same_texts", "Items and fields of one batch may say the same.", INDEX)
async def same_texts(face: Face) -> None:
    same = {"text": "red fish swim", "title": "red fish swim"}
    await face.batch([PutOp(face.at("a"), f"k{n}", same, ["text", "title"]) for n in range(3)])
    await _put(face, "other", "cats sleep")
    found = await face.search(face.at("a"), query="red fish swim")
    equal(sorted(item.key for item in found[:3]), ["k0", "k1", "k2"], "nearest three")
    equal(len(found), 4, "how many")


@spec("index.filter", "A filter holds in a search by meaning, whatever is missing or of another type.", INDEX, basis=DOCUMENTED)
async def filtered(face: Face) -> None:
    for key, n in {"nine": 9, "ten": 10, "text": "many", "none": None}.items():
        await _put(face, key, "red fish swim", **({} if n is None else {"n": n}))
    equal(await face.keys(face.at("a"), query="red fish", filter={"n": {"$gte": 10}}), ["ten"], "found")


@spec("index.filtered_pages", "Pages of a filtered search by meaning hold every item that matches exactly once.", INDEX)
async def filtered_pages(face: Face) -> None:
    words = ("red", "blue", "green", "old", "new")
    for n in range(40):
        tags = [f"{words[n % 5]} fish", f"cat {n}", "dog"]
        await face.put(face.at("a"), f"k{n}", {"even": n % 2 == 0, "tags": tags}, ["tags[*]"])
    for query in ("red fish", "dog"):
        found = await everything(
            lambda offset, q=query: face.keys(face.at("a"), query=q, filter={"even": True}, limit=3, offset=offset),  # type: ignore[misc]
            3,
        )
        equal(sorted(found), sorted(f"k{n}" for n in range(0, 40, 2)), f"keys found with {query!r}")


@spec("index.limit", "A limit is of items, however many texts of each match.", INDEX, basis=DOCUMENTED)
async def limited(face: Face) -> None:
    for n in range(6):
        await face.put(face.at("a"), f"k{n}", {"tags": ["red fish", "red fish swim", "red", "fish"]}, ["tags[*]"])
    equal(len(await face.search(face.at("a"), query="red fish", limit=5)), 5, "how many")


@spec("index.prefix", "A search by meaning stays below its namespace, by whole labels.", INDEX)
async def within(face: Face) -> None:
    for label in ("a_", "ab", "a_c"):
        await face.put(face.at(label), label, {"text": "red fish"})
    equal(await face.keys(face.at("a_"), query="red fish"), ["a_"], "found")


SPECS = tuple(each for each in list(vars().values()) if type(each).__name__ == "Spec")
