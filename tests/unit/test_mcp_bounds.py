"""How much a tool may answer, and how its arguments are told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.integrations.mcp.arguments import Recall, Remember
from app.integrations.mcp.asking import Fault, Refused, segment
from app.integrations.mcp.bounds import MOST_ANSWER_BYTES, MOST_TEXT_BYTES, Bounded, bounded, cut_to
from app.integrations.mcp.checking import argument_schema, checked, renamed
from app.integrations.mcp.tools import TOOLS

_NOTE_BYTES = 40
"""What the words about a cut may add to a text."""


def test_short_texts_are_answered_as_they_are() -> None:
    """Nothing is cut, and nothing is said about it."""
    assert bounded(["one", "two"]) == Bounded(("one", "two"), cut=0, left_out=0)
    assert bounded(["one"]).note is None


def test_what_was_cut_and_left_out_is_said() -> None:
    """Each long text ends with how much is missing; the note counts the rest."""
    found = bounded(["x" * (MOST_TEXT_BYTES + 5)] * 20)
    assert found.texts[0] == "x" * MOST_TEXT_BYTES + " … [5 more bytes]"
    assert found.note == "11 texts were cut to 2000 bytes; 9 results were left out: ask more narrowly, or for fewer"


@given(st.lists(st.text(max_size=50) | st.integers(0, 9000).map(lambda n: "é" * n), max_size=40))
def test_an_answer_never_exceeds_its_bounds(texts: list[str]) -> None:
    """From the front, each within its own bound, all within theirs, no character broken."""
    found = bounded(texts)
    assert len(found.texts) + found.left_out == len(texts)
    assert sum(len(text.encode()) for text in found.texts) <= MOST_ANSWER_BYTES
    assert all(len(text.encode()) <= MOST_TEXT_BYTES + _NOTE_BYTES for text in found.texts)
    assert bool(found.texts) == bool(texts)  # a first one always fits
    assert [cut_to(text, MOST_TEXT_BYTES) for text in texts[: len(found.texts)]] == list(found.texts)


def test_every_fault_is_named_at_once() -> None:
    """A model that is told everything mends its call in one go."""
    with pytest.raises(Refused) as refused:
        checked(Recall, {"limit": 0, "txt": "x"})
    assert [fault.field for fault in refused.value.faults] == ["text", "limit", "txt"]
    assert str(refused.value).startswith("text: must be given; limit: Input should be greater than or equal to 1; txt: is not")


def test_a_fault_of_the_api_is_told_in_the_tools_own_words() -> None:
    """The model knows its arguments, not the fields of the API; another fault is told as it is."""
    refused = Refused("invalid_input", "messages[0].content: too long", (Fault("messages[0].content", "too long"),))
    mended = renamed(refused, {"messages[0].content": "content"})
    assert (mended.kind, str(mended), mended.faults) == (
        "invalid_input", "content: too long", (Fault("content", "too long"),)
    )  # fmt: skip
    assert renamed(refused, {}) is refused


def test_an_argument_that_may_be_left_out_need_not_be_null() -> None:
    """Schemas are short, for models read all of them; nothing but what is named is taken."""
    schema = argument_schema(Remember)
    assert schema["properties"]["name"] == {
        "type": "string", "description": "The name of who said it, if you know it: `Ana`"
    }  # fmt: skip
    assert (schema["required"], schema["additionalProperties"]) == (["content"], False)


def test_the_tools_fit_into_a_models_context() -> None:
    """All schemas and descriptions together; whoever adds to them sees what it costs."""
    assert sum(len(tool.listed.model_dump_json(by_alias=True, exclude_none=True)) for tool in TOOLS) <= 16_000


@pytest.mark.parametrize(("session_id", "path"), [("a b", "a%20b"), ("..", "%2E%2E"), ("é?#", "%C3%A9%3F%23")])
def test_a_session_is_one_segment_of_a_path(session_id: str, path: str) -> None:
    """Nothing in it means anything to the path."""
    assert segment(session_id) == path
