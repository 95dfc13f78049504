"""Believable conversations made from a seed: English function words, a long tail of names, Zipf's law (pure)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Final

import numpy as np

from app.demo import load_conversation
from app.ports import MessageInContext
from app.records import Draft, Message, Role, Scope, new_id

NAMESPACE: Final = "bench"
_AUTHORS: Final = ("Ana", "Ben", "Chloe", "Deniz", "Elif", "Femke", "Goran", "Hanna")
_SESSION_MESSAGES: Final = 100
_VOCABULARY: Final = 4000
_WORDS: Final = (8, 33)
"""Words a message, from (inclusive) to (exclusive): 20 on average."""
_QUESTION_WORDS: Final = 4
_BEGINNING: Final = datetime(2025, 1, 1, 9, tzinfo=UTC)
_BETWEEN_SESSIONS: Final = timedelta(hours=20)
_BETWEEN_MESSAGES: Final = timedelta(seconds=40)
_WORD: Final = re.compile(r"[a-z]+")


@dataclass(frozen=True, slots=True)
class Talk:
    """One session's messages in order."""

    session_id: str
    drafts: tuple[Draft, ...]

    @property
    def scope(self) -> Scope:
        return Scope(NAMESPACE, session_id=self.session_id)


@dataclass(frozen=True, slots=True)
class Question:
    """A question and the author whose messages are asked for."""

    text: str
    author: str


@dataclass(frozen=True, slots=True)
class Workload:
    """Talks of 100 messages each, and questions of which no two are alike."""

    talks: tuple[Talk, ...]
    questions: tuple[Question, ...]

    @property
    def messages(self) -> int:
        return sum(len(talk.drafts) for talk in self.talks)

    def of(self, messages: int) -> Workload:
        """The first talks, with at least one and at most about `messages` messages."""
        return Workload(self.talks[: max(1, messages // _SESSION_MESSAGES)], self.questions)


def make_workload(messages: int, questions: int, *, seed: int = 20260501) -> Workload:
    """`messages` in talks of 100 by two authors each; the same for the same seed."""
    rng = np.random.default_rng(seed)
    words = _Words(rng)
    talks = tuple(_talk(rng, words, number) for number in range(-(-messages // _SESSION_MESSAGES)))
    return Workload(talks, tuple(_question(rng, talks, number) for number in range(questions)))


def in_context(talk: Talk) -> Iterator[MessageInContext]:
    """The messages as the indexer gets to see them."""
    messages = [_message(talk.scope, draft, place) for place, draft in enumerate(talk.drafts, 1)]
    for place, message in enumerate(messages):
        yield MessageInContext(message, tuple(messages[max(0, place - 2) : place]))


class _Words:
    """Draws words by Zipf's law: the demo's, most frequent first, then names that nobody bears."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._vocabulary = _vocabulary()
        weights = 1.0 / np.arange(1, len(self._vocabulary) + 1)
        self._weights = weights / weights.sum()

    def sentence(self) -> str:
        chosen = self._rng.choice(len(self._vocabulary), size=self._rng.integers(*_WORDS), p=self._weights)
        return " ".join(self._vocabulary[i] for i in chosen).capitalize() + "."


def _vocabulary() -> list[str]:
    counted = Counter(w for session in load_conversation() for t in session.turns for w in _WORD.findall(t.text.lower()))
    names = ("".join(syllables) for syllables in product(("bo", "ka", "le", "mi", "nu", "ra", "so", "ti", "va", "ze"), repeat=4))
    spoken = [word for word, _ in counted.most_common()]
    return [*spoken, *(name for _, name in zip(range(_VOCABULARY - len(spoken)), names, strict=False))]


def _talk(rng: np.random.Generator, words: _Words, number: int) -> Talk:
    first, second = (str(author) for author in rng.choice(_AUTHORS, size=2, replace=False))
    begins = _BEGINNING + number * _BETWEEN_SESSIONS
    drafts = (
        Draft(Role.USER, words.sentence(), name=(first, second)[place % 2], created_at=begins + place * _BETWEEN_MESSAGES)
        for place in range(_SESSION_MESSAGES)
    )
    return Talk(f"talk-{number}", tuple(drafts))


def _question(rng: np.random.Generator, talks: Sequence[Talk], number: int) -> Question:
    """Some words of something that was said, and by whom; the number keeps questions apart."""
    talk = talks[int(rng.integers(len(talks)))]
    said = talk.drafts[int(rng.integers(len(talk.drafts)))]
    words = sorted(set(said.content.lower().rstrip(".").split()), key=len)[-_QUESTION_WORDS:]
    return Question(f"What did {said.name} say about {' '.join(words)} ({number})?", said.name or "")


def _message(scope: Scope, draft: Draft, place: int) -> Message:
    said_at = draft.created_at or _BEGINNING
    return Message(new_id(), scope, draft.role, draft.content, said_at, draft.name, draft.metadata, place)
