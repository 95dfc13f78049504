"""What is sent to the service, and which questions are timed on whom."""

from __future__ import annotations

from dataclasses import replace

from gold_files import TINY_JSONL
from hypothesis import given
from hypothesis import strategies as st

from app.cli.bench.measuring import Asked, as_json, asked_of, batches_of, shares_of
from app.gold.jsonl import load_jsonl

CONVERSATION = load_jsonl(TINY_JSONL)[0]
QUESTION = CONVERSATION.questions[0]


def test_a_message_is_sent_with_what_gold_calls_it() -> None:
    """Role, author, time and text are the message's own; its id travels in the metadata."""
    assert as_json(CONVERSATION.messages[1]) == {
        "role": "user",
        "name": "Tom",
        "content": "My bees survived the winter.",
        "created_at": "2024-03-01T09:05:01+00:00",
        "metadata": {"gold_id": "D1:2"},
    }
    assert "name" not in as_json(replace(CONVERSATION.messages[1], name=None))


def test_sessions_are_numbered_and_appended_in_batches() -> None:
    """In order of first appearance, whatever they are called; a session longer than a batch takes several calls."""
    first, last = CONVERSATION.messages[0], CONVERSATION.messages[4]
    mixed = replace(CONVERSATION, messages=(replace(last, session="z/1"), *[first] * 201, replace(last, session="z/1")))
    batches = [(session, len(messages)) for session, messages in batches_of(mixed)]
    assert batches == [("session-1", 2), ("session-2", 200), ("session-2", 1)]


def test_every_conversation_is_asked_in_its_own_namespace() -> None:
    """The same question about two conversations is asked of each."""
    one = replace(CONVERSATION, questions=(QUESTION,))
    other = replace(one, id="other")
    assert list(asked_of([one, other])) == [
        Asked("tiny", "conversation-0", QUESTION),
        Asked("other", "conversation-1", QUESTION),
    ]


@given(st.integers(0, 2000), st.integers(1, 12))
def test_no_question_is_timed_on_two_systems(questions: int, systems: int) -> None:
    """What is asked first is never in a cache because another system asked it; each gets up to 100, as many as the rest."""
    asked = [Asked("c", "n", replace(QUESTION, id=str(number))) for number in range(questions)]
    shares = [shares_of(asked, place, systems) for place in range(systems)]
    timed = [one.question.id for share in shares for one in share]
    sizes = sorted(map(len, shares))
    assert len(timed) == len(set(timed))
    assert sizes[-1] <= 100
    assert sizes[0] >= min(100, questions // systems) // 2
