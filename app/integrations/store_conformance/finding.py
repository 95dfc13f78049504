"""Specifications: prefixes, lists, filters, pages."""

from __future__ import annotations

from typing import Any

from langgraph.store.base import PutOp

from app.integrations.store_conformance.contract import Basis, Face, equal, everything, holds, refused, spec

DOCUMENTED = Basis.DOCUMENTED


async def _fill(face: Face, *paths: str) -> None:
    """An item under each path of labels."""
    for path in paths:
        await face.put(face.at(*path.split("/")), path, {})


async def _values(face: Face, **values: Any) -> None:
    """An item of each name whose `v` is the value."""
    for key, value in values.items():
        await face.put(face.at("a"), key, {"v": value})


async def _matching(face: Face, wanted: dict[str, Any], keys: str) -> None:
    found = sorted(await face.keys(face.at("a"), filter=wanted, limit=100))
    equal(found, sorted(keys.split()), f"found with {wanted}")


@spec("prefix.descendants", "A search finds what is in the namespace and in those below it.", basis=DOCUMENTED)
async def descendants(face: Face) -> None:
    await _fill(face, "a", "a/b", "a/b/c", "b/a")
    equal(sorted(await face.keys(face.at("a"))), ["a", "a/b", "a/b/c"], "found")


@spec("prefix.whole_labels", "A prefix is of whole labels: `a` is no prefix of `ab`.")
async def whole_labels(face: Face) -> None:
    await _fill(face, "a", "ab", "a b", "aé")
    equal(await face.keys(face.at("a")), ["a"], "found")


@spec("prefix.literal", "`_`, `%`, `*` and upper case in labels mean themselves.")
async def literal(face: Face) -> None:
    await _fill(face, "a_c", "abc", "a%", "ax", "A_C", "a*")
    for label in ("a_c", "a%", "a*"):
        equal(await face.keys(face.at(label)), [label], f"found under {label!r}")


@spec("list.all", "Every namespace with an item is listed once, in order.")
async def listed(face: Face) -> None:
    await _fill(face, "b", "a/c", "a", "a/c/d")
    await face.put(face.at("a"), "second", {})
    equal(await face.list_namespaces(), [("a",), ("a", "c"), ("a", "c", "d"), ("b",)], "namespaces")


@spec("list.prefix_suffix", "Prefix and suffix are of whole labels, and hold together.", basis=DOCUMENTED)
async def prefix_suffix(face: Face) -> None:
    await _fill(face, "a/v1", "a/b/v1", "a/b", "ab/v1", "b/v1", "a/xv1")
    equal(await face.list_namespaces(prefix=("a",), suffix=("v1",)), [("a", "b", "v1"), ("a", "v1")], "namespaces")


@spec("list.wildcards", "`*` stands for exactly one label, anywhere in a prefix or suffix.", basis=DOCUMENTED)
async def wildcards(face: Face) -> None:
    await _fill(face, "a/x/v1", "a/y/v2", "a/v1", "a/x/z/v1", "b/x/v1")
    wanted = [("a", "x", "v1")]
    equal(await face.list_namespaces(prefix=("a", "*", "v1")), wanted, "namespaces with prefix a * v1")
    equal(await face.list_namespaces(suffix=("a", "*", "v1")), wanted, "namespaces with suffix a * v1")


@spec("list.max_depth", "`max_depth` cuts namespaces, each once.", basis=DOCUMENTED)
async def max_depth(face: Face) -> None:
    await _fill(face, "a/b/c", "a/b/d/e", "a/b/d/i", "a/b/f", "a/c/f")
    found = await face.list_namespaces(prefix=("a", "b"), max_depth=3)
    equal(found, [("a", "b", "c"), ("a", "b", "d"), ("a", "b", "f")], "namespaces")


@spec("list.pages", "Pages of namespaces hold each once.", basis=DOCUMENTED)
async def pages_of_namespaces(face: Face) -> None:
    await face.batch([PutOp(face.at(f"n{n:03}"), "k", {}) for n in range(25)])
    found = await everything(lambda offset: face.list_namespaces(limit=7, offset=offset), 7)
    equal(found, [(f"n{n:03}",) for n in range(25)], "namespaces")


@spec("list.emptied", "A namespace is gone with its last item.")
async def emptied(face: Face) -> None:
    await _fill(face, "a", "b")
    await face.delete(face.at("a"), "a")
    equal(await face.list_namespaces(), [("b",)], "namespaces")


@spec("list.reading", "Reading a namespace does not make one.")
async def reading(face: Face) -> None:
    await face.get(face.at("a"), "never")
    await face.delete(face.at("b"), "never")
    await face.search(face.at("c"))
    equal(await face.list_namespaces(), [], "namespaces")


@spec("list.thousands", "Thousands of namespaces are listed and searched like few.")
async def thousands(face: Face) -> None:
    for start in range(0, 2000, 500):
        await face.batch([PutOp(face.at("u", f"n{n:04}"), "k", {"n": n}) for n in range(start, start + 500)])
    equal(await face.list_namespaces(suffix=("n1234",)), [("u", "n1234")], "namespaces")
    equal([item.value for item in await face.search(face.at("u", "n1999"))], [{"n": 1999}], "items")


@spec("filter.equal", "A filter's keys must all be equal to what it says.", basis=DOCUMENTED)
async def equality(face: Face) -> None:
    for key, value in {"both": {"a": 1, "b": "x"}, "one": {"a": 1, "b": "y"}, "none": {}}.items():
        await face.put(face.at("a"), key, value)
    await _matching(face, {"a": 1, "b": "x"}, "both")
    await _matching(face, {"a": {"$eq": 1}}, "both one")


@spec("filter.types", "1 is 1.0, but not the text 1.")
async def types(face: Face) -> None:
    await _values(face, whole=1, float=1.0, text="1")
    await _matching(face, {"v": 1}, "whole float")
    await _matching(face, {"v": "1"}, "text")
    await _matching(face, {"v": {"$ne": 1}}, "text")


@spec("filter.true", "JSON's true is not 1.")
async def true_is_not_one(face: Face) -> None:
    await _values(face, true=True, one=1)
    await _matching(face, {"v": True}, "true")
    await _matching(face, {"v": 1}, "one")


@spec("filter.numbers", "Numbers are compared as numbers: 9 is less than 10, -5 less than 2.", basis=DOCUMENTED)
async def numbers(face: Face) -> None:
    await _values(face, nine=9, ten=10, minus=-5, half=9.5)
    await _matching(face, {"v": {"$gt": 9}}, "ten half")
    await _matching(face, {"v": {"$gte": 9.5}}, "ten half")
    await _matching(face, {"v": {"$lt": 10}}, "nine minus half")
    await _matching(face, {"v": {"$lte": -5}}, "minus")


@spec("filter.range", "Several operators on one key must all hold.")
async def ranged(face: Face) -> None:
    await _values(face, low=1, within=5, high=10)
    await _matching(face, {"v": {"$gte": 2, "$lt": 10}}, "within")


@spec("filter.texts", "Texts are compared as texts, so that ISO dates can be ordered.")
async def texts(face: Face) -> None:
    await _values(face, early="2026-01-05", late="2026-11-21")
    await _matching(face, {"v": {"$gt": "2026-02-01"}}, "late")


@spec("filter.missing", "A missing field never matches an order comparison, and is no error.")
async def missing_fields(face: Face) -> None:
    await _values(face, has=5)
    await face.put(face.at("a"), "lacks", {"other": 1})
    for operator in ("$gt", "$gte", "$lt", "$lte"):
        await _matching(face, {"v": {operator: 5}}, "has" if operator.endswith("e") else "")


@spec("filter.mixed", "A text where a number is compared does not match, and is no error.")
async def mixed(face: Face) -> None:
    await _values(face, number=5, text="much", list=[7], null=None)
    await _matching(face, {"v": {"$gt": 1}}, "number")


@spec("filter.null", "A filter for null finds null.")
async def null(face: Face) -> None:
    await _values(face, null=None, zero=0, text="")
    await _matching(face, {"v": None}, "null")


@spec("filter.list", "A filter for a list finds what equals it.")
async def lists(face: Face) -> None:
    await _values(face, same=["a", "b"], other=["a"], text="a")
    await _matching(face, {"v": ["a", "b"]}, "same")


@spec("filter.object", "A filter for an object without operators finds what equals it.")
async def objects(face: Face) -> None:
    await _values(face, same={"x": "p"}, other={"x": "q"}, text="p")
    await _matching(face, {"v": {"x": "p"}}, "same")


@spec("filter.keys", "A key with a period, a quote or a space in it is a key like any other.")
async def odd_keys(face: Face) -> None:
    for key in ("a.b", "it's", 'say "x"', "a b"):
        await face.put(face.at("a"), "has", {key: 1})
        await face.put(face.at("a"), "lacks", {"a": {"b": 1}})
        equal(await face.keys(face.at("a"), filter={key: 1}), ["has"], f"found with the key {key!r}")


@spec("filter.unknown", "An unknown operator is refused, not ignored.")
async def unknown(face: Face) -> None:
    await _values(face, one=1)
    await refused(face.search(face.at("a"), filter={"v": {"$regex": "1"}}), "$regex")


@spec("search.pages", "Pages of a search hold each item once, with and without a filter.", basis=DOCUMENTED)
async def pages(face: Face) -> None:
    await face.batch([PutOp(face.at("a"), f"k{n}", {"n": n}) for n in range(25)])
    for wanted in (None, {"n": {"$gte": 0}}):
        found = await everything(lambda offset, w=wanted: face.keys(face.at("a"), filter=w, limit=4, offset=offset), 4)  # type: ignore[misc]
        equal(sorted(found), sorted(f"k{n}" for n in range(25)), f"keys with {wanted}")


@spec("search.default_limit", "Ten items are found where nothing else is asked for; a limit is heeded.", basis=DOCUMENTED)
async def default_limit(face: Face) -> None:
    await face.batch([PutOp(face.at("a"), f"k{n}", {}) for n in range(12)])
    equal([len(await face.search(face.at())), len(await face.search(face.at(), limit=3))], [10, 3], "how many")


@spec("search.negative", "A negative limit or offset is refused.")
async def negative(face: Face) -> None:
    await face.put(face.at("a"), "k", {})
    await refused(face.search(face.at("a"), limit=-1), "limit=-1")
    await refused(face.search(face.at("a"), offset=-1), "offset=-1")


@spec("search.empty", "A search that finds nothing finds an empty list.")
async def nothing(face: Face) -> None:
    found = await face.search(face.at("a"), filter={"x": 1})
    holds(found == [], f"found {found!r}")


SPECS = tuple(each for each in list(vars().values()) if type(each).__name__ == "Spec")
