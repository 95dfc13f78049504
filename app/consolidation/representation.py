"""What the vector index gets to see of a record (pure).

Source of the layout: DESIGN §9, measured on public conversations with gold evidence. A short conversational message
says little on its own ("Yes, last Tuesday!"), so its dense vector is the sum of its own and that of itself after the
two messages before it. The sparse text carries author and date, which questions name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import orjson

from app.consolidation.rendering import DEFAULT_RENDERING, Rendering
from app.ports import MessageInContext
from app.records import Episode, ItemText, Knowledge, Matrix, Point, RecordKind, Standing, label_metadata, sha256_hex


@dataclass(frozen=True, slots=True)
class ContextPolicy:
    """`short_words`: up to how many words a message gets a context vector. `before_words`: cut of each one before.

    The words of the message before count for a short one too, `before_weight` of their weight, and `question_weight` more
    if it was a question: an answer seldom repeats what was asked. `rendering` is how episodes read.
    """

    short_words: int = 40
    before_words: int = 40
    before_weight: float = 0.2
    question_weight: float = 0.5
    rendering: Rendering = DEFAULT_RENDERING


DEFAULT_CONTEXT: Final = ContextPolicy()


@dataclass(frozen=True, slots=True)
class PointDraft:
    """A point without its vector: the unit vectors of `texts` are to be summed into it.

    Two for messages and knowledge, so that they weigh the same; one for an episode, whose summary says what its messages
    say and must not push them out of an answer.
    """

    point: Point
    texts: tuple[str, ...]


_NO_VECTOR = np.zeros(0, dtype=np.float32)


def draft_message(item: MessageInContext, policy: ContextPolicy) -> PointDraft:
    message = item.message
    own = message.content
    is_short = len(own.split()) <= policy.short_words
    before = [_cut(m.content, policy.before_words) for m in item.before] if is_short else []
    point = Point(
        id=message.uid,
        record_id=message.id,
        kind=RecordKind.MESSAGE,
        scope=message.scope,
        text=message.content,
        sparse_text=f"[{message.created_at:%d %B %Y}] {message.author}: {message.content}",
        dense=_NO_VECTOR,
        created_at=message.created_at,
        content_sha256=message.content_sha256,
        role=message.role.value,
        author=message.author,
        sequence=message.sequence,
        is_long=not is_short,
        sparse_context=_echo(item.before[-1].content, policy) if is_short and item.before else None,
        metadata=message.metadata,
    )
    return PointDraft(point, (own, "\n".join([*before, own])))


def draft_episode(episode: Episode, rendering: Rendering = DEFAULT_RENDERING) -> PointDraft:
    text = rendering.text_of(episode)
    metadata = {"kind": episode.kind.value, **episode.metadata}
    point = _document(RecordKind.EPISODE, episode, text, metadata)
    return PointDraft(replace(point, content_sha256=rendering.content_sha256(text)), (text,))


def draft_knowledge(knowledge: Knowledge) -> PointDraft:
    text = "\n".join(filter(None, [knowledge.description, _flatten(knowledge.told_content)]))
    point = _document(RecordKind.KNOWLEDGE, knowledge, text, {"kind": knowledge.kind.value})
    validity = knowledge.valid_from, knowledge.ends_at
    if any(validity):  # hashed with the text, so that a point which holds at other times is seen to be stale
        times = "\n".join(moment.isoformat() if moment else "" for moment in validity)
        point = replace(point, valid_from=validity[0], valid_to=validity[1], content_sha256=sha256_hex(f"{text}\n{times}"))
    return PointDraft(point, (text, text))


def judged(draft: PointDraft, standing: Standing | None) -> PointDraft:
    """The draft with what callers make of its record."""
    return draft if standing is None else replace(draft, point=replace(draft.point, standing=standing))


def draft_item(item: ItemText) -> PointDraft:
    """By meaning alone: its words would change how rare the words of messages are."""
    point = Point(
        id=item.uid,
        record_id=item.item_uid,
        kind=RecordKind.ITEM,
        scope=item.scope,
        text=item.text,
        sparse_text="",
        dense=_NO_VECTOR,
        created_at=item.updated_at,
        content_sha256=item.content_sha256,
        metadata=label_metadata(item.name.labels),
    )
    return PointDraft(point, (item.text,))


def sum_rows(vectors: Matrix, drafts: Sequence[PointDraft]) -> Matrix:
    """Sum the unit vectors of each draft's texts, given in order; shape (len(drafts), dim), norms up to 2."""
    starts = np.cumsum([0, *(len(d.texts) for d in drafts[:-1])])
    return np.add.reduceat(vectors, starts, axis=0) if drafts else vectors


def _document(kind: RecordKind, record: Episode | Knowledge, text: str, metadata: dict[str, Any]) -> Point:
    created_at = record.ended_at if isinstance(record, Episode) else record.created_at
    return Point(
        id=record.id,
        record_id=record.id,
        kind=kind,
        scope=record.scope,
        text=text,
        sparse_text=f"[{created_at:%d %B %Y}] {text}",
        dense=_NO_VECTOR,
        created_at=created_at,
        content_sha256=sha256_hex(text),
        quality=record.quality if isinstance(record, Episode) else record.confidence,
        outcome_quality=record.outcome_quality if isinstance(record, Episode) else None,
        metadata=metadata,
    )


def _echo(before: str, policy: ContextPolicy) -> tuple[str, float]:
    is_question = before.rstrip().endswith(_QUESTION_MARKS)
    return before, policy.before_weight + policy.question_weight * is_question


_QUESTION_MARKS: Final = ("?", "？", "؟", "¿")


def _cut(text: str, words: int) -> str:
    return " ".join(text.split()[:words])


def _flatten(document: Mapping[str, Any]) -> str:
    """JSON as a line of text: keys and values in the document's own order; nested values as compact JSON."""
    return "; ".join(f"{key.replace('_', ' ')} {_plain(value)}" for key, value in document.items())


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
