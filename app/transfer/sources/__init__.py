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
_EXPECTED: Final[Mapping[Source, str]] = {
    Source.MEM0: "memories (`memory`, `text` or `data`) as a list or under `results` or `memories`, or `relations`",
    Source.LANGGRAPH: "items of a store (`key`, `value`), states with `messages`, or LangChain messages",
    Source.ZEP: "`sessions` or `threads` with `messages`, `facts`, or `edges`",
    Source.LETTA: "an agent file: `agents`, or one agent with blocks, passages or `messages`",
    Source.REDIS_AGENT_MEMORY: "working memories with `messages`, or long-term memories (`text`)",
    Source.OPENAI_MESSAGES: "chat messages (`role`, `content`), `messages`, or ChatGPT's conversations",
    Source.JSONL: "lines with `role` and `content`, or with `description`",
}


def converted(path: Path, source: Source, namespace: str, now: datetime, limits: Limits | None = None) -> Conversion:
    """Read an export whole, and make records of what is in it. Blocks.

    What has no session of its own gets one that is named after the file.

    Raises:
        InvalidInput: it is cut short, no JSON, or nothing in it can be taken for what this source exports; says what was
            expected, and what is wrong with the first of what is there.
    """
    bounds = limits or Limits()
    check_label("namespace", namespace, bounds)
    conversion = Conversion(source.value, namespace, now, bounds)
    conversion.take(_MAPPERS[source](load(path), path.stem))
    if not conversion.counts:
        raise InvalidInput("file", _nothing_of(source, conversion))
    return conversion


def _nothing_of(source: Source, conversion: Conversion) -> str:
    expected = f"holds nothing that {source.value} exports: expected {_EXPECTED[source]}"
    if not conversion.skipped:
        return expected
    first = conversion.skipped[0]
    place = f"{first.place}: " if first.place else ""  # a document that is all one session has no place in itself
    return f"{expected}; of {len(conversion.skipped)} left out the first: {place}{first.reason}"


__all__ = ["Conversion", "Source", "converted", "is_portable"]
