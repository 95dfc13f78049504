"""An installation, opened and closed in order."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from app.access import AccessControl
from app.bootstrap.checking import check_settings
from app.bootstrap.composing import compose
from app.bootstrap.describing import describe
from app.bootstrap.index import open_semantic
from app.bootstrap.learning import phraser_of
from app.bootstrap.models import open_embedder, open_http_client, open_local_model, open_stages, summarizer_of
from app.bootstrap.policies import breaker_policy, call_ttl_of, features_of
from app.bootstrap.servers import bring_schema_up_to_date, open_servers, postgres_of_keys
from app.bootstrap.trunk import Tiers
from app.breakers import BreakerState, Guard
from app.consolidation.spaces import Spaces
from app.embedding.chain import EmbedderChain
from app.episodic.engine import create_engine, guarded
from app.episodic.experiments import PostgresExperiments
from app.episodic.features import PostgresFeatureStore
from app.episodic.keys import PostgresKeyStore
from app.episodic.repository import PostgresRepository
from app.episodic.trends import PostgresTrends
from app.episodic.whole import PostgresTables
from app.faultpoints import FaultPoint, reached
from app.features import Features
from app.learning.phrasing import Phraser
from app.ports import AnswerStore, Embedder, Summarizer
from app.records import new_id, utc_now
from app.retrieval.stages import Stages
from app.semantic.bm25 import Bm25Encoder
from app.semantic.edge import EdgeRepository
from app.service import HybridMemoryService, Parts
from app.settings import Settings
from app.working.answers import RedisAnswerStore
from app.working.calls import guard_of
from app.working.client import Client, connect
from app.working.repository import RedisRepository

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from app.semantic.qdrant import QdrantRepository


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
class _Redis:
    client: Client
    guard: Guard


@dataclass(frozen=True, slots=True)
class _Postgres:
    engine: AsyncEngine
    guard: Guard
    repository: PostgresRepository


@dataclass(frozen=True, slots=True)
class _Index:
    encoder: Bm25Encoder
    repository: EdgeRepository | QdrantRepository


@dataclass(frozen=True, slots=True)
class _Models:
    embedder: Embedder
    chain: EmbedderChain
    stages: Stages
    summarizer: Summarizer
    phraser: Phraser


@asynccontextmanager
async def open_installation(settings: Settings, *, address: str | None = None) -> AsyncIterator[Installation]:
    """Open everything the settings name, and close it again in reverse, whatever happens in between.

    `address` is where this process answers over HTTP, told to a second process that wants the same data directory.

    Raises:
        StartupError: what to change is in the message; nothing is left running.
    """
    await check_settings(settings)
    async with AsyncExitStack() as stack:
        urls = await open_servers(settings, address, stack)
        await reached(FaultPoint.START_SERVERS)
        redis = await _open_redis(settings, urls.redis, stack)
        postgres = await _open_postgres(settings, urls.postgres, stack)
        index = await _open_index(settings, stack)
        await reached(FaultPoint.START_INDEX_OPENED)
        models = await _open_models(settings, redis, stack)
        features = await _features(settings, postgres.engine, stack)
        tiers = _tiers(redis, postgres, index, models, features)
        answers = RedisAnswerStore(redis.client, process=new_id(), is_alone=settings.redis_url is None, guard=redis.guard)
        yield Installation(
            service=_served(compose(settings, tiers, models.summarizer, answers), stack),
            access=_access(settings, postgres.engine),
            embedder=models.embedder,
            answers=answers,
            call_ttl=call_ttl_of(settings),
            engines=describe(settings),
            provider_in_use=lambda: models.chain.provider_in_use,
        )


@asynccontextmanager
async def open_access(settings: Settings) -> AsyncIterator[AccessControl]:
    """Open the keys alone. They are in PostgreSQL; an embedded one is started, or shared with the service that runs it.

    Raises:
        StartupError: what to change is in the message; nothing is left running.
    """
    async with AsyncExitStack() as stack:
        url, is_ours = await postgres_of_keys(settings, stack)
        engine = create_engine(url)
        stack.push_async_callback(engine.dispose)
        await bring_schema_up_to_date(engine, is_ours=is_ours)
        yield _access(settings, engine)


async def _open_redis(settings: Settings, url: str, stack: AsyncExitStack) -> _Redis:
    client = await stack.enter_async_context(connect(url, deadline=timedelta(seconds=settings.redis_deadline_seconds)))
    guard = guard_of(client, breaker_policy(settings))
    stack.push_async_callback(guard.close)
    return _Redis(client, guard)


async def _open_postgres(settings: Settings, url: str, stack: AsyncExitStack) -> _Postgres:
    unguarded = create_engine(url, statement_timeout=timedelta(seconds=settings.postgres_deadline_seconds))
    stack.push_async_callback(unguarded.dispose)
    await bring_schema_up_to_date(unguarded, is_ours=settings.postgres_url is None)
    await reached(FaultPoint.START_MIGRATED)
    engine, guard = guarded(unguarded, breaker_policy(settings))
    stack.push_async_callback(guard.close)
    repository = PostgresRepository(engine)
    if settings.postgres_url is None:
        await repository.void_leases()  # nobody else works here: whoever held them was killed
    await reached(FaultPoint.START_LEASES_VOIDED)
    return _Postgres(engine, guard, repository)


async def _open_index(settings: Settings, stack: AsyncExitStack) -> _Index:
    encoder = Bm25Encoder(settings.language)
    return _Index(encoder, await open_semantic(settings, encoder, stack))


async def _open_models(settings: Settings, redis: _Redis, stack: AsyncExitStack) -> _Models:
    local = open_local_model(settings, stack)
    embedder, chain = await open_embedder(settings, local, redis.client, redis.guard, stack)
    client = await open_http_client(stack)
    return _Models(
        embedder=embedder,
        chain=chain,
        stages=open_stages(settings, local, client, stack),
        summarizer=summarizer_of(settings, embedder, client),
        phraser=phraser_of(settings, client),
    )


def _tiers(redis: _Redis, postgres: _Postgres, index: _Index, models: _Models, features: Features) -> Tiers:
    return Tiers(
        working=RedisRepository(redis.client, guard=redis.guard),
        episodic=postgres.repository,
        semantic=index.repository,
        embedder=models.embedder,
        encoder=index.encoder,
        spaces=Spaces(index.repository, models.chain.primary_space),
        tables=PostgresTables(postgres.engine),
        breakers=_breakers(redis, postgres, index, models),
        stages=models.stages,
        features=features,
        experiments=PostgresExperiments(postgres.engine),
        trends=PostgresTrends(postgres.engine),
        phraser=models.phraser,
    )


def _breakers(redis: _Redis, postgres: _Postgres, index: _Index, models: _Models) -> Mapping[str, Callable[[], BreakerState]]:
    return {
        "working": lambda: redis.guard.state,
        "episodic": lambda: postgres.guard.state,
        "semantic": lambda: index.repository.guard.state,
        "embedder": lambda: models.chain.state,
    }


def _served(parts: Parts, stack: AsyncExitStack) -> HybridMemoryService:
    """The façade on its parts; those that still work when a call has ended are closed before the engines are."""
    stack.push_async_callback(parts.experiments.close)
    stack.push_async_callback(parts.search_log.close)
    stack.push_async_callback(parts.consolidation.close)
    return HybridMemoryService(parts)


async def _features(settings: Settings, engine: AsyncEngine, stack: AsyncExitStack) -> Features:
    """The switches, as they stand now."""
    features = Features(PostgresFeatureStore(engine), features_of(settings))
    stack.push_async_callback(features.close)
    await features.show()
    return features


def _access(settings: Settings, engine: AsyncEngine) -> AccessControl:
    return AccessControl(PostgresKeyStore(engine), utc_now, may_be_open=settings.is_loopback or settings.allow_open_access)
