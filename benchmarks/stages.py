"""What is measured, stage by stage: each opens a service, times it, and times the bare engines beside it."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.progress import Progress

from app.consolidation.representation import ContextPolicy, draft_message
from app.settings import EmbedderChoice, Settings
from benchmarks import backlog, decisions, floors, http, in_process, learning, outages, situations
from benchmarks.report import Figure, Floor, rate, time_each, warm_up
from benchmarks.workload import Workload, in_context, make_workload

_GIGABYTE: Final = 1e9
_TASKS: Final = 32
_WARM_UP_SECONDS: Final = 3.0
_SINGLE: Final = 500
_DEGRADED: Final = 100
_LEEWAY_MS: Final = 50.0
_REPEATED: Final = 2000
_SHARE_OF_MODEL: Final = 0.8
_EPISODES: Final = 2000
_ALONE: Final = 2000
"""Messages that the bare model embeds: enough to know its pace."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What is measured on: a workload, and a directory that holds one data directory an embedder."""

    workload: Workload
    home: Path
    progress: Progress

    def data_dir(self, embedder: EmbedderChoice) -> Path:
        return self.home / embedder.value

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        task = self.progress.add_task(what, total=1)
        yield
        self.progress.advance(task)


async def measure_in_process(bench: Bench) -> list[Figure]:
    """The façade with the hashing embedder: the service's own share of every call."""
    workload = bench.workload
    async with in_process.opened(bench.data_dir(EmbedderChoice.HASHING), EmbedderChoice.HASHING) as installation:
        service = installation.service
        with bench.step("append to indexed"):
            indexed = workload.messages / await in_process.append_and_index(service, workload)
        one, many = in_process.Asking(service), in_process.Asking(service)
        with bench.step("search in process"):
            await warm_up(one.calls(workload.questions[-_SINGLE:]), seconds=_WARM_UP_SECONDS, pid=os.getpid())
            search = await time_each(one.calls(workload.questions[:_SINGLE]))
            search_rate = await rate(many.calls(workload.questions[_SINGLE:-_SINGLE]), tasks=_TASKS)
        with bench.step("append in process"):
            append = await time_each(in_process.appends(service, workload, _SINGLE))
            await service.consolidate()
    floor = await _in_process_floors(bench)
    return [
        Figure("append, in process, p50", append.p50, "ms", 1.0, floor.append),
        Figure("filtered hybrid search, in process, p50", search.p50, "ms", 2.0, floor.search, note=_note(one.degraded)),
        Figure("the same, 32 at a time", search_rate, "/s", 800.0, floor.search_rate, True, _note(many.degraded)),
        Figure("append to indexed, hashing", indexed, "messages/s", 3000.0, floor.index, True),
    ]


async def measure_http(bench: Bench) -> list[Figure]:
    """The API with the hashing embedder."""
    await _ensure_indexed(bench, EmbedderChoice.HASHING)
    with bench.step("HTTP with the hashing embedder"):
        async with http.serving(bench.data_dir(EmbedderChoice.HASHING), EmbedderChoice.HASHING) as service:
            await service.warm_up(bench.workload.questions[-_SINGLE:], seconds=_WARM_UP_SECONDS)
            recall, degraded = await service.time_recall(bench.workload.questions[:_SINGLE])
            append = await service.time_append(bench.workload, _SINGLE)
    with bench.step("floor: an empty endpoint"):
        async with floors.empty_endpoint() as endpoint:
            empty = await endpoint.time([{"text": question.text} for question in bench.workload.questions[:_SINGLE]])
    return [
        Figure("append over HTTP, p50", append.p50, "ms", 3.0, Floor("an empty endpoint", empty.p50)),
        Figure(
            "recall over HTTP, hashing, p95", recall.p95, "ms", 15.0, Floor("an empty endpoint", empty.p95), note=_note(degraded)
        ),
    ]


async def measure_model(bench: Bench) -> list[Figure]:
    """Indexing with MiniLM, beside the model alone on the very texts that the service embeds."""
    workload = bench.workload
    async with in_process.opened(bench.data_dir(EmbedderChoice.LOCAL), EmbedderChoice.LOCAL) as installation:
        with bench.step("append to indexed with MiniLM"):
            indexed = workload.messages / await in_process.append_and_index(installation.service, workload)
    part = workload.of(_ALONE)
    with bench.step("floor: MiniLM alone"), floors.bare_model() as model:
        alone = part.messages / floors.encode_all(model, _texts(part))
    floor = Floor("MiniLM alone, same texts", alone)
    target = _SHARE_OF_MODEL * alone
    return [Figure("append to indexed, MiniLM", indexed, "messages/s", target, floor, True)]


async def measure_model_http(bench: Bench) -> list[Figure]:
    """The API with MiniLM, from its start on."""
    await _ensure_indexed(bench, EmbedderChoice.LOCAL)
    with bench.step("HTTP with MiniLM"):
        async with http.serving(bench.data_dir(EmbedderChoice.LOCAL), EmbedderChoice.LOCAL) as service:
            await service.warm_up(bench.workload.questions[-_SINGLE:], seconds=_WARM_UP_SECONDS)
            recall, degraded = await service.time_recall(bench.workload.questions[:_SINGLE])
            context = await service.time_context(bench.workload.questions[:_SINGLE], bench.workload)
    floor = await _model_http_floors(bench)
    tree = service.tree_bytes / _GIGABYTE
    return [
        Figure("recall over HTTP, MiniLM, p95", recall.p95, "ms", 100.0, floor.recall, note=_note(degraded)),
        Figure("context over HTTP, vector known, p95", context.p95, "ms", 50.0, floor.context),
        Figure("start to ready, existing data", service.seconds_to_ready, "s", 3.0, floor.start),
        Figure("resident, model loaded", service.own_bytes / _GIGABYTE, "GB", 1.5, floor.memory),
        Figure("the same with its engines", tree, "GB", None, floor.memory),
    ]


async def measure_outages(bench: Bench) -> list[Figure]:
    """What callers pay while an engine hangs, with the default deadlines."""
    workload, deadline_ms = bench.workload, Settings.model_fields["recall_deadline_ms"].default
    await _ensure_indexed(bench, EmbedderChoice.HASHING)
    async with in_process.opened(bench.data_dir(EmbedderChoice.HASHING), EmbedderChoice.HASHING) as installation:
        service = installation.service
        await warm_up(in_process.Asking(service).calls(workload.questions[-_SINGLE:]), seconds=_WARM_UP_SECONDS, pid=os.getpid())
        with bench.step("append while PostgreSQL hangs"):
            up, down = await outages.time_appends(service, workload, _SINGLE)
            logged = await outages.time_logging(service, _SINGLE)
        with bench.step("search while the index hangs"):
            searches, degraded = await outages.time_searches(service, workload.questions[:_DEGRADED])
    note = "" if degraded == _DEGRADED else f"only {degraded} of {_DEGRADED} answers named the index"
    slowest, median = searches.percentile(100), searches.p50
    as_usual = Floor("PostgreSQL up", up.p50)
    return [
        Figure("append while PostgreSQL hangs, p50", down.p50, "ms", 2 * up.p50, as_usual),
        Figure("the slowest of them", down.percentile(100), "ms", None, None),
        Figure("log an episode while PostgreSQL hangs, p99", logged.percentile(99), "ms", 10.0, None),
        Figure("search while the index hangs, slowest", slowest, "ms", deadline_ms + _LEEWAY_MS, None, note=note),
        Figure("the same, p50", median, "ms", None, None),
    ]


async def measure_decisions(bench: Bench) -> list[Figure]:
    """What logging costs a hundred agents that decide at the same time."""
    async with in_process.opened(bench.home / "decisions", EmbedderChoice.HASHING) as installation:
        with bench.step("100 agents log their decisions"):
            logged, stored = await decisions.log_decisions(installation.service)
    with bench.step("floor: 100 agents and Valkey"):
        bare = await decisions.append_bare(bench.home / "floor-decisions")
    note = "" if stored == 1 else f"{stored:.1%} stored"
    return [
        Figure(
            "log a decision, 100 agents, p99", logged.percentile(99), "ms", 10.0,
            Floor("Valkey XADD, redis-py", bare.percentile(99)), note=note,
        ),
        Figure("decisions stored in the end", stored * 100, "%", 100.0, None, True),
    ]  # fmt: skip


async def measure_situations(bench: Bench) -> list[Figure]:
    """Episodes like a situation, one for each message of the workload, filtered by project, with the hashing embedder."""
    workload, home = bench.workload, bench.home / "situations"
    async with in_process.opened(home, EmbedderChoice.HASHING) as installation:
        service = installation.service
        with bench.step("decisions to indexed"):
            await situations.decide_and_index(service, workload)
        asking, repeating = situations.Recalling(service), situations.Recalling(service)
        with bench.step("similar situations"):
            await warm_up(asking.calls(workload.questions[-_SINGLE:]), seconds=_WARM_UP_SECONDS, pid=os.getpid())
            fresh = await time_each(asking.calls(workload.questions[:_SINGLE]))
        with bench.step("the same situations again and again"):
            await repeating.repeat(workload, _REPEATED)
            known = await time_each(repeating.calls(workload.questions[:1] * _SINGLE))
    floor = await _edge_floor(bench)
    rate_of_hits = 100 * (repeating.cached - _SINGLE) / _REPEATED
    return [
        Figure("similar situations, p95", fresh.p95, "ms", 100.0, floor, note=_note(asking.degraded)),
        Figure("the same from the cache, p95", known.p95, "ms", None, None),
        Figure("cache hits, a write every 50 asks", rate_of_hits, "%", 50.0, None, True),
    ]


async def _edge_floor(bench: Bench) -> Floor:
    with bench.step("floor: Qdrant Edge"):
        index = floors.BareEdge(bench.home / "floor-situations")
        for batch in floors.batches(await index.points(bench.workload), floors.POINTS):
            index.upsert(batch)
        index.optimize()
        single, _ = await floors.search_edge(await index.queries(bench.workload.questions[:_SINGLE]), tasks=1)
        index.close()
    return Floor("Qdrant Edge, formula query", single.p95)


async def measure_learning(bench: Bench) -> list[Figure]:
    """Patterns and heuristics from episodes, beside the rows of evidence alone."""
    async with in_process.opened(bench.home / "learning", EmbedderChoice.HASHING) as installation:
        with bench.step("storing tasks"):
            await learning.store_tasks(installation.service, _EPISODES)
        with bench.step("learning from them"):
            learned = await learning.time_learning(installation.service)
    with bench.step("floor: rows of evidence"):
        bare = await learning.insert_evidence(bench.home / "floor-learning", learned.evidence)
    floor, found = Floor("INSERT of as much evidence, asyncpg", _EPISODES / bare), _EPISODES / learned.patterns_seconds
    return [
        Figure("patterns from episodes, no model", found, "episodes/s", 200.0, floor, True),
        Figure(f"heuristics from {_EPISODES:,} of them", learned.heuristics_seconds, "s", None, None),
    ]


async def measure_backlog(bench: Bench) -> list[Figure]:
    """Twice the workload queued while no embedder answers; then it answers, and nobody lends a hand."""
    workload, server = make_workload(2 * bench.workload.messages, 1), backlog.embedding_server()
    part = workload.of(_ALONE)
    with bench.step("floor: the embedder alone, over HTTP"):
        async with server.serving() as embedder:
            alone = part.messages / await backlog.embed_all(embedder, _texts(part))
    outage = backlog.OUTAGE_SECONDS
    with bench.step(f"{workload.messages:,} messages through an outage of {outage:g} s"):
        drained = await backlog.drain_after_outage(bench.home / "backlog", server, workload, outage_seconds=outage)
    floor = Floor("the embedder alone, same texts", alone)
    return [
        Figure("backlog after an outage", drained.queued / drained.seconds, "records/s", _SHARE_OF_MODEL * alone, floor, True),
        Figure("from the embedder's return to the first record", drained.first, "s", None, None),
    ]


STAGES: Final[Mapping[str, Callable[[Bench], Awaitable[list[Figure]]]]] = {
    "in-process": measure_in_process,
    "http": measure_http,
    "model": measure_model,
    "model-http": measure_model_http,
    "outages": measure_outages,
    "decisions": measure_decisions,
    "situations": measure_situations,
    "backlog": measure_backlog,
    "learning": measure_learning,
}


@dataclass(frozen=True, slots=True)
class _InProcessFloors:
    append: Floor
    search: Floor
    search_rate: Floor
    index: Floor


async def _in_process_floors(bench: Bench) -> _InProcessFloors:
    workload, questions = bench.workload, bench.workload.questions
    with bench.step("floors: Valkey, PostgreSQL, Qdrant Edge"):
        append = await floors.append_to_valkey(bench.home / "floor-valkey", workload, _SINGLE)
        index = floors.BareEdge(bench.home / "floor-edge")
        written = await floors.insert_and_upsert(bench.home / "floor-postgres", workload, index)
        index.optimize()
        single, _ = await floors.search_edge(await index.queries(questions[:_SINGLE]), tasks=1)
        _, side_by_side = await floors.search_edge(await index.queries(questions), tasks=_TASKS)
        index.close()
    return _InProcessFloors(
        Floor("Valkey XADD, redis-py", append.p50),
        Floor("Qdrant Edge, formula query", single.p50),
        Floor("Qdrant Edge, 32 threads", side_by_side),
        Floor("INSERT + upsert, vectors ready", written),
    )


@dataclass(frozen=True, slots=True)
class _ModelHttpFloors:
    recall: Floor
    context: Floor
    start: Floor
    memory: Floor


async def _model_http_floors(bench: Bench) -> _ModelHttpFloors:
    texts = [question.text for question in bench.workload.questions[:_SINGLE]]
    with bench.step("floors: an empty endpoint, MiniLM alone"):
        async with floors.empty_endpoint() as endpoint:
            empty = await endpoint.time([{"text": text} for text in texts])
        with floors.bare_model() as model:
            encode = await floors.encode_each(model, texts)
        memory = await floors.model_bytes()
    return _ModelHttpFloors(
        Floor("MiniLM alone, one question", encode.p95),
        Floor("an empty endpoint", empty.p95),
        Floor("an empty endpoint", endpoint.seconds_to_ready),
        Floor("a process with MiniLM", memory / _GIGABYTE),
    )


async def _ensure_indexed(bench: Bench, embedder: EmbedderChoice) -> None:
    """Fill the data directory, unless a stage before has."""
    if bench.data_dir(embedder).exists():
        return
    with bench.step(f"indexing with {embedder.value}"):
        async with in_process.opened(bench.data_dir(embedder), embedder) as installation:
            await in_process.append_and_index(installation.service, bench.workload)


def _texts(workload: Workload) -> list[str]:
    """What the service embeds for these messages, each text once."""
    items = (item for talk in workload.talks for item in in_context(talk))
    return list(dict.fromkeys(text for item in items for text in draft_message(item, ContextPolicy()).texts))


def _note(degraded: int) -> str:
    return f"{degraded} answers went without a tier or stage" if degraded else ""
