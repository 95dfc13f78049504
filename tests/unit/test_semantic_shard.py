"""The embedded engine really has the indexes that make it fast."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
from volatile import volatile_directory

from app.ranking import DEFAULT_RANKING, NO_CUES
from app.semantic.filters import only_namespace
from app.semantic.payload import PointRow
from app.semantic.plan import Search
from app.semantic.shard import Shard, ShardState

DIMENSION = 8
ROWS = np.random.default_rng(5).standard_normal((1500, DIMENSION)).astype(np.float32)
ROWS /= np.linalg.norm(ROWS, axis=1, keepdims=True)


def row(i: int) -> PointRow:
    payload = {"namespace": "acme", "content_sha256": str(i), "created_at": "2026-05-04T12:00:00+00:00"}
    return PointRow(UUID(int=i), ROWS[i], {i % 50: 1.0}, payload)


@pytest.fixture
def directory() -> Iterator[Path]:
    with volatile_directory() as made:
        yield made


@pytest.fixture
def shard(directory: Path) -> Iterator[Shard]:
    """A shard with 1,500 points, none of them indexed."""
    opened = Shard.open(directory / "shard", DIMENSION)
    opened.upsert([row(i) for i in range(len(ROWS))])
    yield opened
    opened.close()


def ask(shard: Shard, *, is_exact: bool) -> list[UUID]:
    search = Search(only_namespace("acme"), "acme", ROWS[3], None, 10, 50, DEFAULT_RANKING, NO_CUES, is_exact=is_exact)
    return [score.id for score, _ in shard.search([search])[0]]


def test_a_new_point_can_be_found_before_it_is_indexed(shard: Shard) -> None:
    """Indexing makes a search faster, never righter."""
    expected = [UUID(int=int(i)) for i in np.argsort(-(ROWS @ ROWS[3]))[:10]]
    assert shard.state() == ShardState(points=1500, indexed=0, segments=1, tenant_fields=("namespace",))
    assert ask(shard, is_exact=False) == ask(shard, is_exact=True) == expected


def test_optimizing_indexes_every_vector(shard: Shard) -> None:
    """Afterwards all dense vectors are in an indexed segment, the tenant index is still there, and nobody is lost."""
    before = ask(shard, is_exact=True)
    shard.optimize()
    assert shard.state() == ShardState(points=1500, indexed=1500, segments=2, tenant_fields=("namespace",))
    assert ask(shard, is_exact=True) == before


def test_scores_are_exact_after_indexing(shard: Shard) -> None:
    """The codes that a search walks by are never what a score is made of."""
    shard.optimize()
    search = Search(only_namespace("acme"), "acme", ROWS[3], None, 10, 50, DEFAULT_RANKING, NO_CUES, is_exact=False)
    for score, _ in shard.search([search])[0]:
        assert score.dense == pytest.approx(float(ROWS[score.id.int] @ ROWS[3]), abs=1e-6)


def test_a_shard_is_reopened_as_it_was(shard: Shard, directory: Path) -> None:
    """Points and indexes outlive the process that made them."""
    shard.optimize()
    state = shard.state()
    shard.close()
    reopened = Shard.open(directory / "shard", DIMENSION)
    assert reopened.state() == state
    reopened.close()
