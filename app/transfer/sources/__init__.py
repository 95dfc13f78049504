"""Exports of other memories: each source a module that makes items of its documents, `converting` makes records of these."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

from app.errors import InvalidInput
from app.ingestion.limits import Limits, check_label
from app.transfer.sources import jsonl, langgraph, letta, mem0, openai_messages, redis_agent_memory, zep
from app.transfer.sources.converting import Conversion
from app.transfer.sources.items import Mapper
from app.transfer.sources.loading import is_portable, load


class Source(StrEnum):
    """What a file comes from."""

    MEM0 = "mem0"
    LANGGRAPH = "langgraph"
    ZEP = "zep"
    LETTA = "letta"
    REDIS_AGENT_MEMORY = "redis-agent-memory"
    OPENAI_MESSAGES = "openai-messages"
    JSONL = "jsonl"


_MAPPERS: Final[Mapping[Source, Mapper]] = {
    Source.MEM0: mem0.items,
    Source.LANGGRAPH: langgraph.items,
    Source.ZEP: zep.items,
    Source.LETTA: letta.items,
    Source.REDIS_AGENT_MEMORY: redis_agent_memory.items,
    Source.OPENAI_MESSAGES: openai_messages.items,
    Source.JSONL: jsonl.items,
}


def converted(path: Path, source: Source, namespace: str, now: datetime, limits: Limits | None = None) -> Conversion:
    """Read an export whole, and make records of what is in it. Blocks.

    What has no session of its own gets one that is named after the file.

    Raises:
        InvalidInput: it is cut short, no JSON, or holds nothing that this source exports.
    """
    bounds = limits or Limits()
    check_label("namespace", namespace, bounds)
    conversion = Conversion(source.value, namespace, now, bounds)
    conversion.take(_MAPPERS[source](load(path), path.stem))
    if not (conversion.counts or conversion.skipped):
        raise InvalidInput("file", f"holds nothing that {source.value} exports: docs/importing.md lists the shapes")
    return conversion


__all__ = ["Conversion", "Source", "converted", "is_portable"]
