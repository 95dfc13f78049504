"""MaxSim, and what is kept of the token vectors."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from app.embedding.late_interaction import LateInteraction, max_sims
from app.embedding.sentence_transformer import SentenceTransformerEmbedder
from app.embedding.spaces import unit_rows
from app.records import Matrix

NO_TOKENS = np.empty((0, 2), np.float32)
EAST, NORTH = (1.0, 0.0), (0.0, 1.0)


def rows(*vectors: tuple[float, float]) -> Matrix:
    return unit_rows(np.array(vectors, dtype=np.float32))


class LetterModel:
    """Each letter is a token with a vector of its own; `calls` holds what was read.

    A call with the text `held` sets `is_reached` and is never answered.
    """

    def __init__(self, held: str | None = None) -> None:
        self.calls: list[list[str]] = []
        self.held = held
        self.is_reached = asyncio.Event()

    async def token_vectors(self, texts: Sequence[str]) -> list[Matrix]:
        if self.held in texts:
            self.is_reached.set()
            await asyncio.Event().wait()
        self.calls.append(list(texts))
        return [np.eye(128, dtype=np.float32)[[ord(letter) for letter in text]] for text in texts]

    def read(self) -> list[str]:
        """All texts that were read."""
        return [text for call in self.calls for text in call]


def test_a_document_is_worth_the_best_match_of_each_token() -> None:
    """The mean over the question's tokens of the best cosine each finds, never below 0; without tokens it is 0."""
    question = rows(EAST, NORTH)
    documents = [rows(EAST, NORTH), NO_TOKENS, rows(EAST), rows((1.0, 1.0)), rows((-1.0, -1.0))]
    assert max_sims(question, documents).tolist() == pytest.approx([1.0, 0.0, 0.5, 0.5**0.5, 0.0])
    assert max_sims(NO_TOKENS, documents).tolist() == [0.0] * 5
    assert max_sims(question, []).tolist() == []


async def test_a_text_is_read_once() -> None:
    """Equal texts are one, and what a call has read the next one finds; the question is read each time."""
    model = LetterModel()
    reranker = LateInteraction(model)
    assert (await reranker.scores("ab", ["ab", "ax", "ab"])).tolist() == [1.0, 0.5, 1.0]
    assert (await reranker.scores("xy", ["ax", "yx"])).tolist() == [0.5, 1.0]
    assert sorted(model.read()) == ["ab", "ab", "ax", "xy", "yx"]


async def test_what_is_kept_is_bounded_in_bytes() -> None:
    """The matrices used last stay, up to the bound; a text that does not fit at all is scored all the same."""
    model = LetterModel()
    reranker = LateInteraction(model, cache_bytes=2 * 128 * 2)  # two letters in half precision
    for text in ("a", "b", "a", "c", "a", "b", "long"):
        assert (await reranker.scores(text, [text])).tolist() == [1.0]
    questions, documents = [*"abacab", "long"], [*"abcb", "long"]  # `a` was used later than `b` when `c` came
    assert sorted(model.read()) == sorted(questions + documents)


async def test_what_was_read_before_a_caller_gave_up_is_kept() -> None:
    """A question that comes too late for its own answer makes the next one faster."""
    texts = [letter * 4000 for letter in "abcd"]  # a batch of three and one of one
    model = LetterModel(held=texts[-1])
    reranker = LateInteraction(model)
    given_up = asyncio.create_task(reranker.scores("q", texts))
    await model.is_reached.wait()
    given_up.cancel()
    await asyncio.wait([given_up])
    model.held = None
    model.calls.clear()
    assert (await reranker.scores("a", texts)).tolist() == [1.0, 0.0, 0.0, 0.0]
    assert sorted(model.read()) == sorted(["a", texts[-1]])


async def test_tokens_are_the_models_own() -> None:
    """Unit rows for the words of each text, the same in any company; no marks, no padding, nothing for an empty text."""
    model = SentenceTransformerEmbedder()
    cat, nothing, longer = await model.token_vectors(["cat", "", "the cat sat on the mat"])
    assert (cat.shape, nothing.shape, longer.shape) == ((1, 384), (0, 384), (6, 384))
    np.testing.assert_allclose(np.linalg.norm(longer, axis=1), 1.0, atol=1e-5)
    np.testing.assert_allclose((await model.token_vectors(["cat"]))[0], cat, atol=1e-5)
    assert float(cat[0] @ longer[1]) > float(cat[0] @ longer[3])
    await model.close()
