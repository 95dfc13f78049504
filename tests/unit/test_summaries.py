"""Summaries chosen from the conversation: the choice, its bounds and how it reads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from embedders import StandIn
from given import message
from hypothesis import given, settings
from hypothesis import strategies as st

from app.consolidation.summaries import (
    ExtractiveSummarizer,
    FallbackSummarizer,
    Line,
    SummaryPolicy,
    candidate_lines,
    choose,
    content_share,
    conversation_length,
    rendered,
    shortened,
)
from app.embedding.hashing import HashingEmbedder
from app.errors import EmbedderUnavailable, TierUnavailable
from app.ports import Summary
from app.records import Message, Role

POLICY = SummaryPolicy()


def conversation(*turns: str) -> list[Message]:
    """Each turn as `Author: what is said`."""
    return [message(i, said, name=author) for i, (author, said) in enumerate((t.split(": ", 1) for t in turns), start=1)]


async def summary_of(messages: Sequence[Message]) -> str:
    return (await ExtractiveSummarizer(HashingEmbedder()).summarize(messages)).text


TALK = conversation(
    "Ana: Hi Ben, good morning! How are you?",
    "Ben: Good morning! I'm fine, thanks.",
    "Ana: The quarterly review has to move from Monday to Thursday.",
    "Ben: Sure.",
    "Ana: The review figures for the quarter only arrive on Wednesday evening.",
    "Ben: Then I book the large room for the review on Thursday at ten.",
    "Ben: My daughter started playing the violin last week.",
    "Ana: Great, thank you so much! Bye!",
)


async def test_a_conversation_is_told_in_its_own_words() -> None:
    """The lines that say something, in the order they were said, one turn a speaker, no greetings."""
    assert await summary_of(TALK) == (
        "Ana: The quarterly review has to move from Monday to Thursday. The review figures for the quarter only arrive on "
        "Wednesday evening. · Ben: Then I book the large room for the review on Thursday at ten. My daughter started playing "
        "the violin last week."
    )


async def test_one_message_is_its_own_summary() -> None:
    """Short as it is, there is nothing to leave out."""
    assert await summary_of(conversation("Ana: I moved to Lisbon in May.")) == "I moved to Lisbon in May."


async def test_greetings_alone_are_still_summarized() -> None:
    """A conversation of nothing else is not made to look empty."""
    assert await summary_of(conversation("Ana: Hello!", "Ben: Hi there.")) == "Hello! Hi there."


async def test_nothing_said_gives_an_empty_summary() -> None:
    """No embedder is asked for it."""
    inner = StandIn()
    inner.is_up = False
    assert await ExtractiveSummarizer(inner).summarize([]) == Summary("", "extractive")


async def test_a_long_message_is_taken_sentence_by_sentence() -> None:
    """What is chosen from it are sentences, cut where a single one is endless."""
    texts = ["The boiler needs a new valve before winter.", "The plumber comes on Tuesday for the boiler valve.", "word " * 60]
    lines = candidate_lines(conversation("Ana: " + " ".join(texts)), POLICY)
    assert lines == [Line("Ana", texts[0]), Line("Ana", texts[1]), Line("Ana", "word " * 29 + "word…")]


def test_a_statement_says_more_than_a_question() -> None:
    """Counted in content words, from nothing for a greeting to one for a dozen."""
    texts = ["Hi there, how are you?", "Ben booked rooms.", "Ben booked rooms?", "boiler " * 20]
    assert [content_share(text) for text in texts] == [0, 3 / 12, 1.5 / 12, 1]


def test_tools_and_systems_do_not_speak() -> None:
    """What people and agents said is the conversation; without any, the rest has to do."""
    tool = message(1, "HTTP 200 with 4711 rows fetched", role=Role.TOOL, name=None)
    said = message(2, "The export has 4711 rows now.")
    assert candidate_lines([tool, said], POLICY) == [Line("Ana", said.content)]
    assert candidate_lines([tool], POLICY) == [Line("tool", tool.content)]


def test_candidates_are_bounded() -> None:
    """A long conversation costs no more vectors than a middling one: its fullest lines stand for it, in order."""
    turns = [f"Ana: remark {i} concerns boilers" + " and several valves" * (i % 2) for i in range(200)]
    lines = candidate_lines(conversation(*turns), POLICY)
    assert lines == [Line("Ana", turn.removeprefix("Ana: ")) for turn in turns[1:32:2]]


def test_the_choice_is_central_and_diverse() -> None:
    """The most typical line is taken first, then not its double but something new."""
    vectors = np.array([[1, 0, 0], [1, 0, 0], [0.9, 0.436, 0], [0, 0.6, 0.8]], np.float32)
    lines = [Line("Ana", f"line {i}") for i in range(4)]
    assert choose(lines, vectors, SummaryPolicy(max_lines=2, content_weight=0)) == [0, 2]
    assert choose(lines, vectors, SummaryPolicy(max_lines=2, centrality_weight=0.1, content_weight=0)) == [2, 3]


def test_words_are_a_budget() -> None:
    """A line that does not fit is passed over for one that does."""
    lines = [Line("Ana", "one two three"), Line("Ana", "one two three four"), Line("Ana", "one")]
    vectors = np.array([[1, 0], [0.96, 0.28], [0, 1]], np.float32)
    assert choose(lines, vectors, SummaryPolicy(max_words=5, centrality_weight=1, content_weight=0)) == [1, 2]


def test_names_are_left_out_where_there_is_no_room() -> None:
    """A summary is never longer than the conversation."""
    lines = [Line("Ana", "Yes."), Line("Ben", "No.")]
    assert (rendered(lines, 100), rendered(lines, 9)) == ("Ana: Yes. · Ben: No.", "Yes. No.")


def test_a_cut_is_marked() -> None:
    """And white space is made single."""
    assert (shortened(" one\n two ", 2), shortened("one, two, three", 2)) == ("one two", "one, two…")


WORDS = st.sampled_from(["hi", "review", "Thursday.", "boiler", "valve!", "thanks", "\n", "Lisbon?", "moved", "a" * 50])
MESSAGES = st.lists(st.tuples(st.sampled_from(["Ana", "Ben"]), st.lists(WORDS, max_size=60).map(" ".join)), max_size=12)


@settings(max_examples=60, deadline=None)
@given(MESSAGES)
async def test_a_summary_is_bounded_and_repeatable(turns: list[tuple[str, str]]) -> None:
    """Whatever is said: no longer than the conversation, not far over eighty words, and the same every time."""
    messages = [message(i, said, name=author) for i, (author, said) in enumerate(turns, start=1)]
    first, second = await summary_of(messages), await summary_of(messages)
    assert len(first) <= conversation_length(messages)
    assert len(first.split()) <= POLICY.max_words + 2 * POLICY.max_lines
    assert first == second


async def test_without_vectors_there_is_no_summary() -> None:
    """An outage of the embedder is an outage, not a worse summary that stays for ever."""
    inner = StandIn()
    inner.is_up = False
    with pytest.raises(EmbedderUnavailable):
        await ExtractiveSummarizer(inner).summarize(TALK)


class Unavailable:
    """A summarizer whose model is away."""

    async def summarize(self, messages: Sequence[Message]) -> Summary:  # noqa: ARG002 -- the port's signature
        raise TierUnavailable("summarizer", "down")


async def test_the_fallback_is_asked_only_when_needed() -> None:
    """Who wrote a summary is said in it."""
    extractive = ExtractiveSummarizer(HashingEmbedder())
    assert await FallbackSummarizer(extractive, Unavailable()).summarize(TALK) == await extractive.summarize(TALK)
    assert (await FallbackSummarizer(Unavailable(), extractive).summarize(TALK)).provider == "extractive"
