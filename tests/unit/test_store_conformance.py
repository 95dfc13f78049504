"""The conformance kit: what it finds in LangGraph's own store, in a broken one, and how it reports."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from langgraph.store.base import BaseStore, IndexConfig
from langgraph.store.memory import InMemoryStore
from typer.testing import CliRunner

from app.integrations.store_conformance import SPECS, Mode, StoreOptions, Unsupported, Verdict, run
from app.integrations.store_conformance.__main__ import app
from app.integrations.store_conformance.contract import Basis

KNOWN = {spec.id: spec for spec in SPECS}


def in_memory(options: StoreOptions) -> BaseStore:
    """LangGraph's own store in memory, which has no TTL."""
    if options.ttl is not None:
        raise Unsupported("has no TTL")
    if options.fields is None:
        return InMemoryStore()
    return InMemoryStore(index=IndexConfig(dims=options.dimensions, embed=options.embeddings, fields=list(options.fields)))


class Forgetful(InMemoryStore):
    """Keeps nothing."""

    def batch(self, ops: Any) -> list[Any]:
        return [None for _ in ops]

    async def abatch(self, ops: Any) -> list[Any]:  # noqa: ARG002 - the store's
        raise ConnectionError("no such luck")


async def verdicts(*ids: str) -> list[tuple[str, Mode, Verdict]]:
    report = await run(in_memory, [KNOWN[i] for i in ids])
    return [(outcome.spec.id, outcome.mode, outcome.verdict) for outcome in report.outcomes]


def test_specifications_have_names_and_sentences() -> None:
    """Each has an id of its own and one sentence; some come from LangGraph's documentation."""
    assert len(KNOWN) == len(SPECS) > 60
    assert {spec.sentence[-1] for spec in SPECS} == {"."}
    assert {spec.basis for spec in SPECS} == set(Basis)


async def test_a_store_is_checked_in_both_modes() -> None:
    """What holds passes, what does not fails, what the store has no option for is skipped; blocking and async."""
    assert await verdicts("get.missing", "put.created_at", "ttl.expires") == [
        (identity, mode, verdict)
        for identity, verdict in (
            ("get.missing", Verdict.PASSED), ("put.created_at", Verdict.FAILED), ("ttl.expires", Verdict.SKIPPED),
        )
        for mode in Mode
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("identity", "detail"),
    [
        ("put.own_copy", "the stored value changed with the caller's"),
        ("list.emptied", "namespaces: [('a',), ('b',)], not [('b',)]"),
        ("index.update_shorter", "the old text still counts: "),
        ("filter.missing", "raised TypeError: "),
    ],
)
async def test_a_failure_says_what_differs(identity: str, detail: str) -> None:
    """The known faults of LangGraph's store in memory are found, each in words."""
    report = await run(in_memory, [KNOWN[identity]], modes=[Mode.ASYNC])
    assert [outcome.detail.startswith(detail) for outcome in report.outcomes] == [True]


async def test_a_store_that_only_raises_or_forgets_passes_little() -> None:
    """Whatever a store raises is its answer, and the run goes on."""
    report = await run(lambda _: Forgetful(), [KNOWN["put.roundtrip"], KNOWN["get.missing"]])
    assert [(o.spec.id, o.mode, o.detail) for o in report.outcomes if o.verdict is Verdict.FAILED] == [
        ("put.roundtrip", Mode.SYNC, "the item is not there"),
        ("put.roundtrip", Mode.ASYNC, "raised ConnectionError: no such luck"),
        ("get.missing", Mode.ASYNC, "raised ConnectionError: no such luck"),
    ]


async def test_each_set_of_options_gets_one_store() -> None:
    """A factory is called once for those specifications that need the same of it."""
    asked: list[StoreOptions] = []

    def factory(options: StoreOptions) -> BaseStore:
        asked.append(options)
        return in_memory(options)

    await run(factory, [KNOWN[i] for i in ("get.missing", "delete.missing", "index.nearest", "ttl.expires")])
    assert [(options.fields, options.ttl is not None) for options in asked] == [(None, False), (("text",), False), (None, True)]


def test_the_command(tmp_path: Path) -> None:
    """It prints a table, writes JSON, and its exit code says whether anything failed."""
    file = tmp_path / "report.json"
    target = f"{__name__}:in_memory"
    passed = CliRunner().invoke(app, [target, "--only", "batch.order", "--json", str(file)])
    assert (passed.exit_code, "2 passed, 0 failed, 0 skipped" in passed.output) == (0, True)
    said = {"id": "batch.order", "sentence": KNOWN["batch.order"].sentence, "basis": "documented"}
    assert json.loads(file.read_text()) == {
        "store": target, "passed": 2, "failed": 0, "skipped": 0,
        "results": [{**said, "verdict": "passed", "detail": "", "mode": mode} for mode in ("sync", "async")],
    }  # fmt: skip
    assert CliRunner().invoke(app, [target, "--only", "list.reading", "--mode", "sync"]).exit_code == 1


@pytest.mark.parametrize("arguments", [["nowhere:factory"], ["json"], ["json:nothing"], ["json:dumps", "--only", "nothing"]])
def test_a_wrong_command(arguments: list[str]) -> None:
    """What cannot be checked is said to be so, with another exit code than a failure's."""
    assert CliRunner().invoke(app, arguments).exit_code == 2


def test_ids_are_grouped_by_need() -> None:
    """Specifications that need the same stand together, so that each store is made once."""
    needs = [spec.needs for spec in SPECS]
    assert len({*needs}) == 1 + sum(before != after for before, after in pairwise(needs))


def test_a_class_is_no_factory() -> None:
    """It would be given options that it does not take: said in a sentence, before anything is opened."""
    refused = CliRunner().invoke(app, ["langgraph.store.memory:InMemoryStore"])
    assert (refused.exit_code, "has to take one" in refused.stderr) == (2, True)
