"""What runs where, for people to read."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import SecretStr

from app.settings import EmbedderChoice, Settings


def describe(settings: Settings) -> Mapping[str, str]:
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
