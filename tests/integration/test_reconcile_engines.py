"""Reconcile on PostgreSQL and real indexes: damaged by hand, reported to the point, repaired, and gone on with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import UUID

import pytest
from factories import EVERYWHERE, Tiers, append, consolidation_of, indexer_of, outbox_of, reconcile_of, texts_found, tiers
from given import knowledge, queued, stored, upsert
from qdrant_client import AsyncQdrantClient
from sqlalchemy.ext.asyncio import AsyncEngine
from volatile import volatile_directory

from app.consolidation.indexing import Batch, IndexingPolicy
from app.consolidation.reconcile import ReconcilePolicy
from app.embedding.hashing import HashingEmbedder
from app.episodic.repository import PostgresRepository
from app.ports import IndexedPoint, SemanticMemory
from app.records import FindingKind, Point, RecordKind, Space, derived_uuid
from app.semantic.bm25 import Bm25Encoder
from app.semantic.edge import EdgeRepository
from app.semantic.qdrant import QdrantRepository
from app.testing.faults import troubled

pytestmark = [
    pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning"),
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect:UserWarning"),
]

FORMER = Space("former", 384)
SMALL = ReconcilePolicy(window=7)
COLOURS = ("red", "green", "yellow", "purple", "orange", "silver")
TEXTS = tuple(f"the {colour} parcel waits for {name}" for colour in COLOURS for name in ("Ana", "Ben", "Cem", "Dora", "Emil"))


@pytest.fixture(params=["edge", "qdrant"])
async def index(request: pytest.FixtureRequest) -> AsyncIterator[SemanticMemory]:
    """Tier 3 with nothing in it: embedded, and the server's client."""
    if request.param == "qdrant":
        qdrant = QdrantRepository(AsyncQdrantClient(":memory:"), encoder=Bm25Encoder())
        yield qdrant
        await qdrant.close()
        return
    with volatile_directory() as directory:
        edge = await EdgeRepository.open(directory, encoder=Bm25Encoder())
        yield edge
        await edge.close()


@pytest.fixture
async def given(engine: AsyncEngine, index: SemanticMemory) -> Tiers:
    """Thirty messages and a fact, stored and indexed."""
    made = replace(tiers(), episodic=PostgresRepository(engine), semantic=index)
    await append(made, *TEXTS)
    fact = knowledge("the lockers are emptied on Friday")
    await stored(made.episodic, fact)
    await queued(made.episodic, upsert(fact))
    await consolidation_of(made).run()
    assert await books(made) == (31, 0, (made.embedder.space.name,))
    return made


async def books(given: Tiers) -> tuple[int, int | None, tuple[str, ...]]:
    """Points, drift, and the spaces there are."""
    status = await consolidation_of(given).status()
    return await given.semantic.count(), status.drift, tuple(space.name for space in await given.semantic.spaces())


async def dump(given: Tiers) -> dict[str, tuple[IndexedPoint, ...]]:
    return {space.name: await given.semantic.scroll(space) for space in await given.semantic.spaces()}


async def damage(given: Tiers) -> dict[FindingKind, set[UUID]]:
    """Three records wrong in each way, by hand."""
    uids = [point.uid for point in await given.semantic.scroll(given.embedder.space)]
    missing, stale, astray = uids[:3], uids[10:13], uids[20:23]
    orphaned = [derived_uuid("orphan", str(n)) for n in range(3)]
    await given.semantic.delete([*missing, *astray])
    await given.semantic.upsert(given.embedder.space, [await made_up(given, uid) for uid in (*stale, *orphaned)])
    await given.semantic.upsert(FORMER, [await made_up(given, uid) for uid in astray])
    return {
        FindingKind.MISSING: set(missing), FindingKind.STALE: set(stale),
        FindingKind.WRONG_SPACE: set(astray), FindingKind.ORPHANED: set(orphaned),
    }  # fmt: skip


async def made_up(given: Tiers, uid: UUID) -> Point:
    """A point that somebody wrote who should not have."""
    (vector,) = (await given.embedder.embed(["nonsense"])).vectors
    return Point(
        id=uid, record_id=uid, kind=RecordKind.MESSAGE, scope=EVERYWHERE, text="nonsense", sparse_text="nonsense",
        dense=vector, created_at=given.clock(), content_sha256="0" * 64,
    )  # fmt: skip


async def test_damage_is_reported_to_the_point_and_nothing_changed(given: Tiers) -> None:
    """A dry run names exactly the records that were damaged, and leaves index and outbox as they are."""
    damaged = await damage(given)
    before = await dump(given)
    run = await reconcile_of(given, SMALL).run(is_repair=False)
    assert {kind: set(uids) for kind, uids in run.examples.items()} == damaged
    assert (run.total, run.checked, run.findings) == (31, 31, dict.fromkeys(damaged, 3))
    assert (await dump(given), await outbox_of(given)) == (before, ())


async def test_damage_is_repaired(given: Tiers) -> None:
    """After a repair and the indexer's work nothing is wrong, everything is found, and the strange space is gone."""
    await damage(given)
    await reconcile_of(given, SMALL).run(is_repair=True)
    await consolidation_of(given).run()
    again = await reconcile_of(given, SMALL).run(is_repair=False)
    assert (again.found, again.pending, await books(given)) == (0, 0, (31, 0, (given.embedder.space.name,)))
    for text in TEXTS[::10]:
        assert text in await texts_found(given, text)
    assert "nonsense" not in await texts_found(given, "nonsense")


@pytest.mark.parametrize("call", ["lookup", "enqueue", "save_reconciliation", "commit", "committed"])
async def test_a_killed_repair_is_gone_on_with(given: Tiers, call: str) -> None:
    """Killed at any of its steps, in the second window, the next run ends what it began, and finds the same."""
    damaged = await damage(given)
    trouble = Second(call)
    dying = replace(given, episodic=troubled(given.episodic, trouble), semantic=troubled(given.semantic, trouble))
    with pytest.raises(Killed):
        await reconcile_of(dying, SMALL).run(is_repair=True)
    given.clock.advance(SMALL.lease)
    run = await reconcile_of(given, SMALL).run(is_repair=True)
    assert (run.generation, run.checked, run.findings) == (2, 31, dict.fromkeys(damaged, 3))
    await consolidation_of(given).run()
    assert await books(given) == (31, 0, (given.embedder.space.name,))


class Killed(Exception):
    """The process died here: nobody handles this."""


class Second:
    """Dies when the named call is made after a window was done, and does nothing more."""

    def __init__(self, call: str) -> None:
        self._call = call
        self._windows = 0
        self._is_dead = False

    async def __call__(self, call: str) -> None:
        self._is_dead |= self._windows > 0 and call == self._call
        if self._is_dead:
            raise Killed
        self._windows += call == "scroll"


# ── another model ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_another_model_takes_over(given: Tiers) -> None:
    """Records move to the new model's space while the old one answers; each is found once at every moment; then it goes."""
    changed = replace(given, embedder=HashingEmbedder(128))
    former, present = given.embedder.space.name, changed.embedder.space.name
    assert await books(changed) == (31, 31, (former,))
    await expect_all_found(changed)
    run = await reconcile_of(changed).run(is_repair=True)
    assert run.findings == {FindingKind.WRONG_SPACE: 31}
    assert await indexer_of(changed, IndexingPolicy(batch=15)).index_batch() == Batch(15, 15)
    assert await books(changed) == (31, 16, (present, former))
    await expect_all_found(changed)
    await consolidation_of(changed).run()
    assert await books(changed) == (31, 0, (present,))
    await expect_all_found(changed)


async def expect_all_found(given: Tiers) -> None:
    """Among the ten hits, that is: each collection weighs words by its own records, so that the best need not be the first."""
    for text in TEXTS:
        found = await texts_found(given, text)
        assert (text in found, len(found)) == (True, len(set(found)))
