"""The embedded index keeps its promises while its processes come, go and are killed."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import psutil
import pytest
from given import NOW, SCOPE
from volatile import volatile_directory

from app.errors import InvalidInput, TierUnavailable
from app.ports import IndexQuery
from app.records import Point, RecordKind, Scope, Space
from app.semantic.bm25 import Bm25Encoder
from app.semantic.edge import EdgeRepository
from app.semantic.edge_space import EdgeSpace, IndexingPolicy
from app.semantic.generations import Home
from app.semantic.shard import ShardState

SPACE = Space("tiny", 8)
EAGER = IndexingPolicy(least_points=1000)
RNG = np.random.default_rng(3)


def point(i: int, text: str = "the cat sat") -> Point:
    return Point(
        id=UUID(int=i), record_id=UUID(int=i), kind=RecordKind.MESSAGE, scope=SCOPE, text=text, sparse_text="cat",
        dense=RNG.standard_normal(8).astype(np.float32), created_at=NOW, content_sha256=text,
    )  # fmt: skip


async def opened(directory: Path, **options: Any) -> EdgeRepository:
    return await EdgeRepository.open(directory, encoder=Bm25Encoder(), **options)


@pytest.fixture
def directory() -> Iterator[Path]:
    with volatile_directory() as made:
        yield made


@pytest.fixture
async def repository(directory: Path) -> AsyncIterator[EdgeRepository]:
    """An embedded index that indexes as soon as 1,000 points wait."""
    made = await opened(directory, policy=EAGER)
    yield made
    await made.close()


def space_of(repository: EdgeRepository) -> EdgeSpace:
    return repository._spaces[SPACE.name]


def serving_pid(repository: EdgeRepository) -> int:
    return space_of(repository)._serving._process.pid


async def stored(repository: EdgeRepository) -> dict[int, str]:
    return {p.uid.int: p.content_sha256 for p in await repository.scroll(SPACE, limit=1_000_000)}


async def is_found(repository: EdgeRepository) -> bool:
    found = await repository.search(SPACE, IndexQuery(Scope("acme"), np.ones(8, dtype=np.float32), "cat", 5, tuple(RecordKind)))
    return len(found) == 5


# ── what was acknowledged survives ────────────────────────────────────────────────────────────────────────────────

WRITER = """
import asyncio, sys
from pathlib import Path
from test_semantic_edge import EAGER, SPACE, opened, point

async def main(directory, first, last):
    repository = await opened(Path(directory), policy=EAGER)
    await repository.upsert(SPACE, [point(i) for i in range(first, last)])
    print("stored", flush=True)
    await asyncio.Event().wait()

asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
"""


async def write_and_be_killed(directory: Path, first: int, last: int) -> None:
    """Another process of ours stores points; in the moment they are stored it is killed, and all its processes with it."""
    path = os.pathsep.join([*sys.path, str(Path(__file__).parent)])
    command = (sys.executable, "-c", WRITER, str(directory), str(first), str(last))
    writer = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, env=os.environ | {"PYTHONPATH": path})
    assert writer.stdout is not None
    assert await writer.stdout.readline() == b"stored\n"
    parent = psutil.Process(writer.pid)
    for process in [*parent.children(recursive=True), parent]:
        process.kill()
    await writer.wait()


async def test_what_was_acknowledged_survives_a_kill(directory: Path) -> None:
    """A process killed right after an upsert returned leaves every point of it to its successor."""
    await write_and_be_killed(directory, 0, 20)
    repository = await opened(directory)
    assert (await repository.count(), await repository.spaces(), await is_found(repository)) == (20, (SPACE,), True)
    await repository.close()


async def test_a_kill_while_indexing_loses_nothing(directory: Path) -> None:
    """Killed with an indexing under way, the next start has all points, and the half-made generation is swept away."""
    await write_and_be_killed(directory, 0, 1200)
    repository = await opened(directory)
    assert (await repository.count(), await is_found(repository)) == (1200, True)
    await repository.close()


async def test_a_killed_engine_is_started_again(repository: EdgeRepository) -> None:
    """When the engine's own process dies the next call starts another, with all that was acknowledged."""
    await repository.upsert(SPACE, [point(i) for i in range(20)])
    process = space_of(repository)._serving
    os.kill(serving_pid(repository), signal.SIGKILL)
    await process._reader
    assert (await repository.count(), await is_found(repository)) == (20, True)


async def test_a_call_that_the_engine_dies_under_says_so(repository: EdgeRepository) -> None:
    """Who was waiting for the dead process learns that the tier is unavailable, and may repeat the call."""
    await repository.upsert(SPACE, [point(1)])
    os.kill(serving_pid(repository), signal.SIGSTOP)
    asked = asyncio.ensure_future(repository.count())
    await asyncio.sleep(0)
    os.kill(serving_pid(repository), signal.SIGKILL)
    with pytest.raises(TierUnavailable, match="process has ended"):
        await asked
    assert await repository.count() == 1


async def test_a_half_made_space_is_made_anew(directory: Path) -> None:
    """Killed while making a space, nothing was acknowledged: the next start is not bothered, and the first write makes it."""
    home = Home.of(directory, SPACE)
    half_made = home.fresh()
    (half_made / "segments").mkdir(parents=True)
    repository = await opened(directory)
    assert await repository.spaces() == ()
    await repository.upsert(SPACE, [point(1)])
    assert (await stored(repository), half_made.exists()) == ({1: "the cat sat"}, False)
    await repository.close()


async def test_a_second_opener_waits_for_the_first(directory: Path) -> None:
    """A space belongs to one process at a time: the next gets it when the first has closed it, as after a quick restart."""
    first = await opened(directory)
    await first.upsert(SPACE, [point(1)])
    second = asyncio.create_task(opened(directory))
    finished, _ = await asyncio.wait({second}, timeout=1)  # it would have failed by now
    await first.close()
    assert (finished, await stored(await second)) == (set(), {1: "the cat sat"})
    await second.result().close()


async def test_a_directory_can_be_closed_and_opened(directory: Path) -> None:
    """What one opener stored the next one has."""
    first = await opened(directory)
    await first.upsert(SPACE, [point(1, "one"), point(2, "two")])
    await first.close()
    second = await opened(directory)
    assert await stored(second) == {1: "one", 2: "two"}
    await second.close()


# ── indexing aside ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_enough_new_points_are_indexed(directory: Path) -> None:
    """Past the threshold all points come into the index, without being asked for, and for good; one generation is left."""
    indexed = ShardState(1200, indexed=1200, segments=2, tenant_fields=("namespace",))
    repository = await opened(directory, policy=EAGER)
    await repository.upsert(SPACE, [point(i) for i in range(1200)])
    await repository.settled()
    assert await space_of(repository).state() == indexed
    home = space_of(repository)._home
    assert [path for path in home.directory.iterdir() if path.is_dir()] == [home.current]
    await repository.close()
    again = await opened(directory, policy=EAGER)
    assert await space_of(again).state() == indexed
    await again.close()


async def test_few_points_are_left_alone(repository: EdgeRepository) -> None:
    """Below the threshold nothing is indexed: a plain scan is fast enough."""
    await repository.upsert(SPACE, [point(i) for i in range(50)])
    await repository.settled()
    assert (await space_of(repository).state()).indexed == 0


async def test_writes_during_indexing_are_kept(repository: EdgeRepository) -> None:
    """What is written, replaced, deleted or forgotten while the successor indexes is so in the successor too."""
    await repository.upsert(SPACE, [point(i, "old") for i in range(1200)])
    elsewhere = replace(point(5000, "elsewhere"), scope=Scope("globex"))
    await repository.upsert(SPACE, [point(0, "new"), point(2000, "new"), elsewhere])
    await repository.delete([UUID(int=1)])
    await repository.forget(Scope("globex"))
    assert space_of(repository)._indexing is not None
    await repository.settled()
    expected = dict.fromkeys(range(2, 1200), "old") | {0: "new", 2000: "new"}
    assert await stored(repository) == expected


async def test_searches_go_on_during_indexing(repository: EdgeRepository) -> None:
    """While one process indexes the other answers."""
    await repository.upsert(SPACE, [point(i) for i in range(1200)])
    before = serving_pid(repository)
    answers = [await is_found(repository) for _ in range(5)]
    is_same_process = serving_pid(repository) == before
    await repository.settled()
    assert (answers, is_same_process, serving_pid(repository) == before) == ([True] * 5, True, False)


async def test_indexing_goes_on_until_it_has_caught_up(directory: Path) -> None:
    """What comes while one indexing runs is covered by the next, and no two run at once."""
    repository = await opened(directory, policy=IndexingPolicy(least_points=1000))
    for first in range(0, 3600, 1200):
        await repository.upsert(SPACE, [point(i) for i in range(first, first + 1200)])
    await repository.settled()
    state = await space_of(repository).state()
    assert (state.points, state.unindexed < 1000) == (3600, True)
    await repository.close()


async def test_only_one_indexing_runs_at_a_time(directory: Path) -> None:
    """Two writes that find out together that an indexing is due start one between them."""
    repository = await opened(directory)
    await repository.upsert(SPACE, [point(i) for i in range(1200)])
    space = space_of(repository)
    space._policy = EAGER
    await asyncio.gather(space._index_when_due(), space._index_when_due())
    running = [task for task in asyncio.all_tasks() if "_index_aside" in repr(task.get_coro())]
    await repository.close()
    assert len(running) == 1


async def test_a_failed_indexing_harms_nobody(repository: EdgeRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no room for a copy the shard serves on, and is indexed when as many points have come again, not before."""
    attempts = []

    def full(source: object, *_: object, **__: object) -> None:
        attempts.append(source)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(shutil, "copytree", full)
        for last in (1200, 1201):
            await repository.upsert(SPACE, [point(i) for i in range(last)])
            await repository.settled()
    assert ((await space_of(repository).state()).indexed, await is_found(repository), len(attempts)) == (0, True, 1)
    await repository.upsert(SPACE, [point(i) for i in range(1200, 2400)])
    await repository.settled()
    assert (await space_of(repository).state()).indexed == 2400


async def test_closing_does_not_wait_for_an_indexing(directory: Path) -> None:
    """An indexing under way is dropped on close; the points stay, and the next opener indexes them."""
    repository = await opened(directory, policy=EAGER)
    await repository.upsert(SPACE, [point(i) for i in range(1200)])
    await repository.close()
    again = await opened(directory, policy=EAGER)
    await again.settled()
    assert (await space_of(again).state()).indexed == 1200
    await again.close()


# ── what cannot be done ───────────────────────────────────────────────────────────────────────────────────────────


async def test_a_late_answer_is_an_unavailable_tier(directory: Path) -> None:
    """An engine that does not answer within the patience given is reported as unavailable."""
    repository = await opened(directory)
    await repository.upsert(SPACE, [point(1)])
    space_of(repository)._patience = timedelta(milliseconds=1)
    os.kill(serving_pid(repository), signal.SIGSTOP)
    with pytest.raises(TierUnavailable, match="in time"):
        await repository.ping()
    os.kill(serving_pid(repository), signal.SIGCONT)
    await repository.close()


async def test_what_cannot_be_stored_is_the_callers_mistake(repository: EdgeRepository) -> None:
    """A text that is no Unicode is refused for good: repeating the call would not help."""
    with pytest.raises(InvalidInput):
        await repository.upsert(SPACE, [point(1, "\ud800")])
    assert await repository.count() == 0


async def test_files_that_cannot_be_opened_are_an_unavailable_tier(directory: Path) -> None:
    """A damaged shard is reported when the index is opened, and no process is left behind."""
    repository = await opened(directory)
    await repository.upsert(SPACE, [point(1)])
    current = space_of(repository)._home.current
    await repository.close()
    assert current is not None
    damage(sorted((current / "segments").iterdir()))
    with pytest.raises(TierUnavailable, match="Qdrant Edge"):
        await opened(directory)


def damage(segments: Sequence[Path]) -> None:
    for segment in segments:
        (segment / "segment.json").write_text("no longer JSON", encoding="utf-8")
