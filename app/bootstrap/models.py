"""Embedders, rerankers and summarizers."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import timedelta

import httpx

from app.bootstrap.policies import breaker_policy
from app.breakers import Guard
from app.chat import OllamaChat
from app.consolidation.summaries import ExtractiveSummarizer, FallbackSummarizer, OllamaSummarizer
from app.embedding.batching import BatchingEmbedder
from app.embedding.cache import CachedEmbedder, RedisCache
from app.embedding.chain import EmbedderChain
from app.embedding.cross_encoder import CrossEncoderReranker
from app.embedding.hashing import HashingEmbedder
from app.embedding.late_interaction import LateInteraction
from app.embedding.ollama import OllamaEmbedder
from app.embedding.sentence_transformer import SentenceTransformerEmbedder
from app.ports import Embedder, Reranker, Summarizer
from app.records import Stage
from app.retrieval.rephrasing import OllamaRephraser
from app.retrieval.stages import Stages
from app.settings import EmbedderChoice, Settings
from app.working.client import Client


def open_local_model(settings: Settings, stack: AsyncExitStack) -> SentenceTransformerEmbedder | None:
    """The model in this process, which loads in the background; None where another one is chosen."""
    if settings.embedder not in {EmbedderChoice.AUTO, EmbedderChoice.LOCAL}:
        return None
    local = SentenceTransformerEmbedder(settings.local_model)
    stack.push_async_callback(local.close)
    local.start_loading()
    return local


def open_stages(
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


async def open_embedder(
    settings: Settings, local: SentenceTransformerEmbedder | None, redis: Client, guard: Guard, stack: AsyncExitStack
) -> tuple[Embedder, EmbedderChain]:
    providers = await _providers(settings, local, stack)
    chain = EmbedderChain(providers, breaker=breaker_policy(settings), may_be_absent=not names_ollama(settings))
    stack.push_async_callback(chain.close)
    if settings.embedder is EmbedderChoice.HASHING:
        return chain, chain  # hashing a text costs less than asking a cache for it
    ttl = timedelta(seconds=settings.embedding_cache_ttl_seconds)
    return CachedEmbedder(BatchingEmbedder(chain), RedisCache(redis, guard=guard), ttl=ttl), chain


def names_ollama(settings: Settings) -> bool:
    """Whether somebody wants Ollama, and not just whatever is there. A copy of `.env.example` names the defaults."""
    defaults = Settings.model_fields
    names = ("ollama_url", "ollama_embedding_model", "ollama_summary_model")
    return settings.embedder is EmbedderChoice.OLLAMA or any(getattr(settings, n) != defaults[n].default for n in names)


async def _providers(settings: Settings, local: SentenceTransformerEmbedder | None, stack: AsyncExitStack) -> list[Embedder]:
    providers: list[Embedder] = []
    if settings.embedder in {EmbedderChoice.AUTO, EmbedderChoice.OLLAMA}:
        client = await open_http_client(stack)
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


def summarizer_of(settings: Settings, embedder: Embedder, client: httpx.AsyncClient) -> Summarizer:
    extractive = ExtractiveSummarizer(embedder)
    if settings.ollama_summary_model is None:
        return extractive
    return FallbackSummarizer(OllamaSummarizer(client, settings.ollama_url, settings.ollama_summary_model), extractive)


async def open_http_client(stack: AsyncExitStack) -> httpx.AsyncClient:
    return await stack.enter_async_context(httpx.AsyncClient(trust_env=False))
