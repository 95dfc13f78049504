"""Checking a store against specifications, and what came of it."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from typing import Any, Final, TypeAlias

from langgraph.store.base import BaseStore, TTLConfig

from app.integrations.store_conformance.contract import Disagreement, Face, Need, Spec, StoreOptions, Unsupported

Made: TypeAlias = BaseStore | AbstractContextManager[BaseStore] | AbstractAsyncContextManager[BaseStore]
Factory: TypeAlias = Callable[[StoreOptions], Made]

_LONGEST_DETAIL: Final = 300


class Verdict(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


class Mode(StrEnum):
    """Which of a store's two sets of methods is called."""

    SYNC = "sync"
    ASYNC = "async"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one specification in one mode; `detail` says what differs, or why it was skipped."""

    spec: Spec
    mode: Mode
    verdict: Verdict
    detail: str = ""

    def as_json(self) -> Mapping[str, str]:
        return {
            "id": self.spec.id,
            "sentence": self.spec.sentence,
            "basis": self.spec.basis.value,
            "mode": self.mode.value,
            "verdict": self.verdict.value,
            "detail": self.detail,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """The outcomes for a store, in the order of the specifications."""

    store: str
    outcomes: tuple[Outcome, ...]

    @property
    def counts(self) -> Mapping[Verdict, int]:
        found = Counter(outcome.verdict for outcome in self.outcomes)
        return {verdict: found[verdict] for verdict in Verdict}

    def of(self, spec_id: str) -> tuple[Outcome, ...]:
        return tuple(outcome for outcome in self.outcomes if outcome.spec.id == spec_id)

    def as_json(self) -> Mapping[str, Any]:
        counts = {verdict.value: count for verdict, count in self.counts.items()}
        return {"store": self.store, **counts, "results": [outcome.as_json() for outcome in self.outcomes]}


def options_for(needs: frozenset[Need]) -> StoreOptions:
    return StoreOptions(
        fields=("text",) if Need.INDEX in needs else None,
        ttl=TTLConfig(refresh_on_read=True, omit_expired=True) if Need.TTL in needs else None,
    )


async def run(factory: Factory, specs: Sequence[Spec], *, modes: Sequence[Mode] = tuple(Mode), name: str | None = None) -> Report:
    """Check each specification in each mode; a store is made once for those that need the same of it."""
    outcomes: list[Outcome] = []
    for needs, group in groupby(specs, key=lambda spec: spec.needs):
        outcomes += await _checked(factory, list(group), needs, modes)
    return Report(name or str(getattr(factory, "__name__", factory)), tuple(outcomes))


async def _checked(factory: Factory, specs: Sequence[Spec], needs: frozenset[Need], modes: Iterable[Mode]) -> list[Outcome]:
    asked = [(spec, mode) for spec in specs for mode in modes]
    try:
        async with _opened(factory(options_for(needs))) as store:
            return [await _check(store, spec, mode) for spec, mode in asked]
    except Unsupported as error:
        return [Outcome(spec, mode, Verdict.SKIPPED, str(error)) for spec, mode in asked]


@asynccontextmanager
async def _opened(made: Made) -> AsyncIterator[BaseStore]:
    if isinstance(made, AbstractAsyncContextManager):
        async with made as store:
            yield store
    elif isinstance(made, AbstractContextManager):
        with made as store:
            yield store
    else:
        yield made


async def _check(store: BaseStore, spec: Spec, mode: Mode) -> Outcome:
    face = Face(store, f"spec-{uuid.uuid4().hex}", is_blocking=mode is Mode.SYNC)
    try:
        await spec.check(face)
    except Disagreement as error:
        return Outcome(spec, mode, Verdict.FAILED, _line(str(error)).replace(face.root, "root"))
    except Exception as error:  # noqa: BLE001 - whatever a store raises is its answer
        return Outcome(spec, mode, Verdict.FAILED, _line(f"raised {type(error).__name__}: {error}").replace(face.root, "root"))
    return Outcome(spec, mode, Verdict.PASSED)


def _line(text: str) -> str:
    return " ".join(text.split())[:_LONGEST_DETAIL]
