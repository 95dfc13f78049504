"""After forgetting, the embedding cache holds vectors of questions alone."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from given import knowledge
from ollama_server import OllamaServer, ollama_server

from app.bootstrap import open_installation
from app.records import Draft, Query, Role, Scope, Wait
from app.service import HybridMemoryService
from app.settings import EmbedderChoice, Settings

QUESTION = "Where is the key?"


@pytest.fixture
async def memory(redis_url: str, database_url: str, tmp_path: Path) -> AsyncIterator[HybridMemoryService]:
    with ollama_server() as server:
        async with open_installation(settings_of(redis_url, database_url, tmp_path, server)) as installation:
            yield installation.service


def settings_of(redis_url: str, database_url: str, tmp_path: Path, server: OllamaServer) -> Settings:
    """With a model whose vectors are cached."""
    return Settings(
        _env_file=None, redis_url=redis_url, postgres_url=database_url, data_dir=tmp_path,
        embedder=EmbedderChoice.OLLAMA, ollama_url=server.url, recall_deadline_ms=10_000.0,
    )  # fmt: skip


def cached(redis_url: str) -> set[str]:
    """The hashes of the texts whose vectors are cached."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        return {key.rpartition(":")[2] for key in client.scan_iter("hm:emb:*")}


def hashed(*texts: str) -> set[str]:
    return {hashlib.sha256(text.encode()).hexdigest() for text in texts}


async def test_no_wording_of_what_is_forgotten_stays_cached(memory: HybridMemoryService, redis_url: str) -> None:
    """Neither what was said nor what knowledge said before it was changed; the question stays until its TTL."""
    scope = Scope("acme", session_id="s1")
    await memory.append_messages(scope, [Draft(Role.USER, "It is under the mat.")], wait=Wait.INDEXED)
    stored = await memory.store_knowledge(knowledge("the key is under the mat", scope=Scope("acme")))
    await memory.consolidate(Scope("acme"))
    await memory.change_knowledge("acme", stored.id, lambda old: replace(old, description="the key is with the neighbour"))
    await memory.consolidate(Scope("acme"))
    found = await memory.search(Query(QUESTION, Scope("acme")))
    assert "the key is with the neighbour" in {hit.text for hit in found.hits}
    assert cached(redis_url) == hashed("It is under the mat.", QUESTION)
    await memory.forget(Scope("acme"))
    assert cached(redis_url) == hashed(QUESTION)
