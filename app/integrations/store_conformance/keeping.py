"""Specifications: values, names, batches."""

from __future__ import annotations

from typing import Any

from langgraph.store.base import GetOp, ListNamespacesOp, Op, PutOp, SearchOp

from app.integrations.store_conformance.contract import Basis, Face, equal, holds, refused, spec

DOCUMENTED = Basis.DOCUMENTED


@spec("get.missing", "What was never put is None.", basis=DOCUMENTED)
async def missing(face: Face) -> None:
    equal(await face.get(face.at("a"), "k"), None, "get")


@spec("put.roundtrip", "Every kind of JSON comes back as it was put.", basis=DOCUMENTED)
async def roundtrip(face: Face) -> None:
    value: dict[str, Any] = {"t": "näive 🙂\n\"'\\%", "i": 2**53, "f": 0.1, "b": True, "n": None, "d": {"l": [1, [], {}]}}
    await face.put(face.at("a"), "k", value)
    item = await face.get(face.at("a"), "k")
    holds(item is not None, "the item is not there")
    if item is not None:
        equal((item.value, item.key, item.namespace), (value, "k", face.at("a")), "item")


@spec("put.replaces", "A second put replaces the value whole.", basis=DOCUMENTED)
async def replaces(face: Face) -> None:
    await face.put(face.at("a"), "k", {"old": 1})
    await face.put(face.at("a"), "k", {"new": 2})
    equal([item.value for item in await face.search(face.at())], [{"new": 2}], "values")


@spec("put.created_at", "An update keeps `created_at`; times carry a UTC offset.", basis=DOCUMENTED)
async def created_at(face: Face) -> None:
    await face.put(face.at("a"), "k", {"n": 1})
    first = await face.get(face.at("a"), "k")
    await face.put(face.at("a"), "k", {"n": 2})
    second = await face.get(face.at("a"), "k")
    holds(first is not None and second is not None, "the item is not there")
    if first is not None and second is not None:
        holds(second.created_at.tzinfo is not None, "created_at has no UTC offset")
        holds(second.created_at == first.created_at, "created_at changed with an update")
        holds(second.updated_at >= first.updated_at, "updated_at went back")


@spec("put.own_copy", "What a caller does with a value before or after does not change what is stored.")
async def own_copy(face: Face) -> None:
    value = {"list": [1]}
    await face.put(face.at("a"), "k", value)
    value["list"].append(2)
    for _ in range(2):
        item = await face.get(face.at("a"), "k")
        holds(item is not None and item.value == {"list": [1]}, "the stored value changed with the caller's")
        if item is not None:
            item.value["list"].append(3)


@spec("put.not_json", "A value that is not JSON is refused, and nothing is written.", basis=DOCUMENTED)
async def not_json(face: Face) -> None:
    await refused(face.put(face.at("a"), "k", {"x": object()}), "an object() in a value")
    equal(await face.get(face.at("a"), "k"), None, "get")


@spec("key.any_text", "A key may hold periods, quotes, spaces, wildcards and any alphabet.")
async def any_text(face: Face) -> None:
    for key in ("a.b", "it's", "a b", "%", "_", "käse/🙂", "a"):
        await face.put(face.at("a"), key, {"key": key})
    for key in ("a.b", "it's", "a b", "%", "_", "käse/🙂", "a"):
        item = await face.get(face.at("a"), key)
        equal(item and item.value, {"key": key}, f"value of {key!r}")


@spec("delete.gone", "What was deleted is gone from reads and searches; what is beside it stays.", basis=DOCUMENTED)
async def gone(face: Face) -> None:
    for key in ("going", "staying"):
        await face.put(face.at("a"), key, {})
    await face.delete(face.at("a"), "going")
    equal((await face.get(face.at("a"), "going"), await face.keys(face.at())), (None, ["staying"]), "what is left")


@spec("delete.missing", "Deleting what is not there is no error.")
async def deleting_missing(face: Face) -> None:
    await face.delete(face.at("a"), "never")


@spec("namespace.same_key", "One key under two namespaces is two items.", basis=DOCUMENTED)
async def same_key(face: Face) -> None:
    await face.put(face.at("a"), "k", {"n": 1})
    await face.put(face.at("a", "b"), "k", {"n": 2})
    await face.delete(face.at("a"), "k")
    item = await face.get(face.at("a", "b"), "k")
    equal(item and item.value, {"n": 2}, "value of the other")


@spec("namespace.bad_labels", "An empty namespace, and empty, dotted or non-text labels are refused by `put`.", basis=DOCUMENTED)
async def bad_labels(face: Face) -> None:
    bad: list[Any] = [(), ("a", ""), ("a.b",), ("a", 3)]
    for namespace in bad:
        await refused(face.put(namespace, "k", {}), f"namespace {namespace!r}")


@spec("namespace.reserved", "A namespace whose root is `langgraph` is refused by `put`.", basis=DOCUMENTED)
async def reserved(face: Face) -> None:
    await refused(face.put(("langgraph", face.root), "k", {}), "root 'langgraph'")


@spec("batch.bad_labels", "`batch` refuses the labels that `put` refuses: `a.b` must not address `a`, `b`.")
async def bad_labels_in_batch(face: Face) -> None:
    await face.put(face.at("a", "b"), "k", {})
    dotted = (face.root, "a.b")
    for op in (PutOp(dotted, "k", {}), PutOp(face.at(""), "k", {}), GetOp(dotted, "k"), SearchOp(dotted)):
        await refused(face.batch([op]), f"{op!r}")


@spec("batch.order", "Results stand in the order of the operations; a put's is None.", basis=DOCUMENTED)
async def order(face: Face) -> None:
    for key in ("x", "y"):
        await face.put(face.at("a"), key, {"key": key})
    ops: list[Op] = [GetOp(face.at("a"), "y"), PutOp(face.at("b"), "z", {}), SearchOp(face.at("a")), GetOp(face.at("a"), "x")]
    results: list[Any] = await face.batch([*ops, GetOp(face.at("a"), "never"), GetOp(face.at("a"), "y")])
    seen = [results[0].key, results[1], sorted(item.key for item in results[2]), results[3].key, results[4], results[5].key]
    equal(seen, ["y", None, ["x", "y"], "x", None, "y"], "results")


@spec("batch.empty", "A batch of nothing is nothing.")
async def empty(face: Face) -> None:
    equal(await face.batch([]), [], "results")


@spec("batch.last_put", "Of several puts for one key in a batch the last counts, a delete included.")
async def last_put(face: Face) -> None:
    await face.put(face.at("a"), "was", {})
    ops = [
        PutOp(face.at("a"), "twice", {"n": 1}), PutOp(face.at("a"), "twice", {"n": 2}),
        PutOp(face.at("a"), "gone", {"n": 1}), PutOp(face.at("a"), "gone", None),
        PutOp(face.at("a"), "was", None), PutOp(face.at("a"), "was", {"n": 3}),
    ]  # fmt: skip
    await face.batch(ops)
    found = {item.key: item.value for item in await face.search(face.at())}
    equal(found, {"twice": {"n": 2}, "was": {"n": 3}}, "items")


@spec("batch.reads_before", "The reads of a batch see what was there before it.")
async def reads_before(face: Face) -> None:
    await face.put(face.at("a"), "k", {"n": 1})
    ops: list[Op] = [
        PutOp(face.at("a"), "k", {"n": 2}),
        GetOp(face.at("a"), "k"),
        SearchOp(face.at("a")),
        PutOp(face.at("b"), "k", {}),
    ]
    results: list[Any] = await face.batch([*ops, ListNamespacesOp()])
    equal((results[1].value, [i.value for i in results[2]]), ({"n": 1}, [{"n": 1}]), "reads")
    holds(face.at("b") not in results[4], "a namespace of the batch's own is listed")


@spec("batch.all_or_nothing", "A batch with a bad operation is refused whole: nothing of it is written.")
async def all_or_nothing(face: Face) -> None:
    bad = SearchOp(face.at("a"), {"n": {"$no_such_operator": 1}})
    await face.put(face.at("a"), "was", {"n": 1})
    await refused(face.batch([PutOp(face.at("a"), "k", {}), bad]), "an unknown operator")
    equal(await face.get(face.at("a"), "k"), None, "get of what the batch put")


SPECS = tuple(each for each in list(vars().values()) if type(each).__name__ == "Spec")
