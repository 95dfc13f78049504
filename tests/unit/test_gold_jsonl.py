"""Reading conversations and questions from JSON Lines: what is in them, and what is refused with line and field."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from gold_files import TINY_JSONL, TINY_LOCOMO
from snippets import ROOT, snippets_of

from app.errors import InvalidInput
from app.gold import GoldConversation, GoldMessage, GoldQuestion
from app.gold.jsonl import load_jsonl
from app.gold.locomo import load_locomo
from app.records import Role

MANUAL = ROOT / "docs/recall.md"
MESSAGE: dict[str, Any] = {
    "id": "m1", "session": "a", "role": "user", "name": "Ana", "content": "Hello.", "created_at": "2024-03-01T09:00:00Z",
}  # fmt: skip
CONVERSATION: dict[str, Any] = {"type": "conversation", "id": "c", "messages": [MESSAGE]}
QUESTION: dict[str, Any] = {
    "type": "question", "conversation": "c", "id": "q", "text": "Who?", "gold": ["m1"], "category": "person",
}  # fmt: skip


def lines(*rows: Any) -> str:
    return "\n".join(json.dumps(row) for row in rows)


def loaded(directory: Path, text: str) -> tuple[GoldConversation, ...]:
    path = directory / "talk.jsonl"
    path.write_text(text, encoding="utf-8")
    return load_jsonl(path)


def test_both_formats_hold_the_same_conversation() -> None:
    """One conversation written in either format is read into the same values."""
    assert load_jsonl(TINY_JSONL) == load_locomo(TINY_LOCOMO)


def test_lines_come_in_any_order(tmp_path: Path) -> None:
    """A question may stand before its conversation; blank lines are skipped, an id given twice is gold once, and `now` is
    the question's own or the time of the newest message."""
    later = MESSAGE | {"id": "m2", "role": "assistant", "created_at": "2024-03-02T10:00:00+01:00", "content": "A\u2028B"}
    del later["name"]
    asked = QUESTION | {"id": "p", "now": "2024-05-01T00:00:00Z", "gold": ["m1", "m1"]}
    text = lines(QUESTION, asked) + "\n\n" + json.dumps(CONVERSATION | {"messages": [later, MESSAGE]}, ensure_ascii=False)
    newest = datetime(2024, 3, 2, 9, tzinfo=UTC)
    assert loaded(tmp_path, text + "\n") == (
        GoldConversation(
            "c",
            (
                GoldMessage("m2", "a", Role.ASSISTANT, None, "A\u2028B", newest),
                GoldMessage("m1", "a", Role.USER, "Ana", "Hello.", datetime(2024, 3, 1, 9, tzinfo=UTC)),
            ),
            (
                GoldQuestion("q", "Who?", ("m1",), "person", newest),
                GoldQuestion("p", "Who?", ("m1",), "person", datetime(2024, 5, 1, tzinfo=UTC)),
            ),
        ),
    )


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        ("{", "line 1", "Invalid JSON"),
        ("[]", "line 1", "must be an object"),
        (lines(CONVERSATION, {"id": "q"}), "line 2", "'type'"),
        (lines({"type": "turn"}), "line 1", "'conversation', 'question'"),
        (lines(CONVERSATION | {"messages": []}), "line 1, messages", "at least 1 item"),
        (lines(CONVERSATION | {"title": "x"}), "line 1, title", "is no field of this line"),
        (lines(CONVERSATION | {"messages": [MESSAGE, {"id": "m2"}]}), "line 1, messages[1].session", "is missing"),
        (lines(CONVERSATION | {"messages": [MESSAGE | {"role": "human"}]}), "line 1, messages[0].role", "must be 'user'"),
        (lines(CONVERSATION | {"messages": [MESSAGE | {"content": " "}]}), "line 1, messages[0].content", "must not be blank"),
        (lines(CONVERSATION | {"messages": [MESSAGE | {"id": "m" * 256}]}), "line 1, messages[0].id", "at most 255"),
        (lines(CONVERSATION | {"messages": [MESSAGE | {"created_at": "2024-03-01T09:00:00"}]}),
         "line 1, messages[0].created_at", "timezone"),
        (lines(CONVERSATION | {"messages": [MESSAGE | {"created_at": 5}]}), "line 1, messages[0].created_at", "datetime"),
        (lines(CONVERSATION | {"messages": [MESSAGE, MESSAGE]}), "line 1, messages", "'m1' is there twice"),
        (lines(CONVERSATION, CONVERSATION), "line 2, id", "'c' is there twice"),
        (lines(CONVERSATION, QUESTION, QUESTION), "line 3, id", "'c/q' is there twice"),
        (lines(CONVERSATION, QUESTION | {"conversation": "d"}), "line 2, conversation", "'d' is no conversation of this file"),
        (lines(CONVERSATION, QUESTION | {"gold": ["m1", "m9"]}), "line 2, gold[1]", "'m9' is no message of that conversation"),
        (lines(CONVERSATION, QUESTION | {"gold": []}), "line 2, gold", "at least 1 item"),
        (lines(CONVERSATION, QUESTION | {"now": "tomorrow"}), "line 2, now", "datetime"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_by_line_and_field(tmp_path: Path, text: str, place: str, problem: str) -> None:
    """The first line that breaks the format is refused with its number, the field's path and what it must be."""
    with pytest.raises(InvalidInput) as refused:
        loaded(tmp_path, text)
    assert refused.value.field == f"talk.jsonl, {place}"
    assert problem in refused.value.problem


def test_the_example_of_the_manual_is_read(tmp_path: Path) -> None:
    """What users are shown in docs/recall.md is in the format."""
    (example,) = [snippet for snippet in snippets_of(MANUAL.read_text(encoding="utf-8")) if snippet.language == "jsonl"]
    (conversation,) = loaded(tmp_path, example.code)
    assert [message.id for message in conversation.messages] == ["m1", "m2", "m3"]
    assert [(q.gold, q.category, q.now) for q in conversation.questions] == [
        (("m1",), "single fact", datetime(2026, 4, 2, 18, tzinfo=UTC)),
        (("m2", "m3"), "two facts", datetime(2026, 4, 3, 8, tzinfo=UTC)),
    ]


def test_another_encoding_is_named(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 are refused with the file's name."""
    path = tmp_path / "talk.jsonl"
    path.write_bytes("é".encode("latin-1"))
    with pytest.raises(InvalidInput, match=r"talk\.jsonl: must be UTF-8"):
        load_jsonl(path)
