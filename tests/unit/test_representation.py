"""What the vector index gets to see of a record."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import numpy as np
import pytest
from given import message

from app.consolidation.representation import ContextPolicy, draft_episode, draft_knowledge, draft_message, sum_rows
from app.ports import MessageInContext
from app.records import Episode, EpisodeKind, Json, Knowledge, KnowledgeKind, Origin, RecordKind, Scope

POLICY = ContextPolicy(short_words=5, before_words=3)
AT = datetime(2026, 5, 8, 9, 30, tzinfo=UTC)


def test_a_short_message_is_summed_with_itself_in_context() -> None:
    """A short message has its own text and that after the two before it, each cut to its first words."""
    before = (message(1, "one two three four"), message(2, "five"))
    draft = draft_message(MessageInContext(message(3, "yes, last Tuesday"), before), POLICY)
    assert draft.texts == ("yes, last Tuesday", "one two three\nfive\nyes, last Tuesday")


def test_a_long_message_counts_twice() -> None:
    """A long message says enough by itself, and weighs as much as a short one."""
    long = "one two three four five six"
    draft = draft_message(MessageInContext(message(3, long), (message(2, "before"),)), POLICY)
    assert draft.texts == (long, long)


def test_the_words_carry_author_and_date() -> None:
    """The sparse text says when and who, which questions name; the shown text does not."""
    said = replace(message(1, "the fence is red", name="Ana"), created_at=AT)
    point = draft_message(MessageInContext(said, ()), POLICY).point
    assert (point.sparse_text, point.text) == ("[08 May 2026] Ana: the fence is red", "the fence is red")
    assert (point.id, point.record_id, point.kind) == (said.uid, said.id, RecordKind.MESSAGE)


def test_an_episode_is_its_summary_and_documents() -> None:
    """An episode reads as text: summary first, then what was perceived, reasoned, done and what came of it; once."""
    episode = Episode(
        UUID(int=1), EpisodeKind.DECISION, Scope("ns"), AT, AT, perception={"back_log": 12}, action={"do": ["a", 1]},
        summary="Planned the sprint.",
    )  # fmt: skip
    draft = draft_episode(episode)
    assert draft.texts == ("Planned the sprint.\nperception: back log 12\naction: do a, 1",)
    assert draft.point.metadata == {"kind": "decision"}


def test_knowledge_is_its_description_and_content() -> None:
    """A fact reads as its description and content, and weighs as much as a message."""
    fact = Knowledge(UUID(int=2), KnowledgeKind.FACT, Scope("ns"), "Mara is allergic", AT, content={"to": "walnuts"})
    assert draft_knowledge(fact).texts == ("Mara is allergic\nto walnuts",) * 2


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (KnowledgeKind.PATTERN, {"pattern": "context_outcome", "conditions": [], "action": "ship"}),
        (KnowledgeKind.HEURISTIC, {"conditions": [], "action": "ship", "p_value": 1e-9, "counted": "Choose 'ship'."}),
    ],
)
def test_what_learning_put_into_words_is_its_description(kind: KnowledgeKind, content: Json) -> None:
    """The content says the same for programs, and would only be repeated; of what somebody stated nobody knows that."""
    learned = Knowledge(UUID(int=2), kind, Scope("ns"), "Choose 'ship'.", AT, content=content, origin=Origin.LEARNED)
    assert draft_knowledge(learned).texts == ("Choose 'ship'.",) * 2
    for other in (replace(learned, origin=Origin.STATED), replace(learned, content={"action": "ship"})):
        assert draft_knowledge(other).texts[0].startswith("Choose 'ship'.\n")


def test_where_an_import_has_it_from_is_not_in_its_text() -> None:
    """The two fields of an import are ids to others, and would cost tokens in every prompt; what else it knows is said."""
    of_import = {"imported_from": "mem0", "source_id": "a1"}
    fact = Knowledge(UUID(int=2), KnowledgeKind.FACT, Scope("ns"), "Ana likes jazz", AT, content={**of_import, "since": 1999})
    assert draft_knowledge(fact).texts == ("Ana likes jazz\nsince 1999",) * 2
    assert draft_knowledge(replace(fact, content=of_import)).texts == ("Ana likes jazz",) * 2
    said = draft_message(MessageInContext(message(1, "I like jazz", name="Ana", metadata=of_import), ()), POLICY)
    assert (said.texts, said.point.sparse_text) == (("I like jazz",) * 2, "[04 May 2026] Ana: I like jazz")
    talk = Episode(UUID(int=1), EpisodeKind.CONVERSATION, Scope("ns"), AT, AT, summary="Of jazz.", metadata=of_import)
    assert draft_episode(talk).texts == ("Of jazz.",)


@pytest.mark.parametrize(("name", "text"), [("imported_from", "imported from Peru"), ("source_id", "source id Peru")])
def test_what_somebody_knows_of_a_thing_is_in_its_text(name: str, text: str) -> None:
    """One of the two names alone is no import's, but somebody's word for something."""
    fact = Knowledge(UUID(int=2), KnowledgeKind.FACT, Scope("ns"), "The coffee", AT, content={name: "Peru"})
    assert draft_knowledge(fact).texts == (f"The coffee\n{text}",) * 2


def test_rows_are_summed_draft_by_draft() -> None:
    """The vectors of each draft's texts, given one after the other, are added up, however many a draft has."""
    two = draft_message(MessageInContext(message(1, "a b"), ()), POLICY)
    one = draft_episode(Episode(UUID(int=1), EpisodeKind.TASK, Scope("ns"), AT, AT, summary="s"))
    rows = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32)
    np.testing.assert_allclose(sum_rows(rows, [two, one]), np.array([[1, 1], [0.6, 0.8]], np.float32))
    assert sum_rows(np.empty((0, 2), np.float32), []).shape == (0, 2)
