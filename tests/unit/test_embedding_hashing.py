"""The embedder without a model."""

from __future__ import annotations

import numpy as np

from app.embedding.hashing import HashingEmbedder
from app.records import Matrix, Space

PINNED = [-0.3328097, -0.4114158, -0.650757, 0.1470469, -0.1595608, 0.0604635, 0.4513061, -0.2051208]


async def rows(*texts: str, dimension: int = 384) -> Matrix:
    return (await HashingEmbedder(dimension).embed(texts)).vectors


async def test_vectors_are_the_same_everywhere() -> None:
    """Stored vectors outlive processes and machines: this one is pinned."""
    (row,) = await rows("Ana is allergic to nuts, says Ana", dimension=8)
    np.testing.assert_allclose(row, PINNED, atol=1e-6)


async def test_a_text_without_words_gets_the_first_axis() -> None:
    """There is no zero row, which would have no direction."""
    np.testing.assert_array_equal((await rows("", "…", "cat"))[:2], np.eye(384)[[0, 0]])


async def test_case_and_punctuation_do_not_matter() -> None:
    """A word is the same word wherever it stands in a sentence."""
    np.testing.assert_array_equal(*await rows("Nuts? Ana!", "nuts ana"))


async def test_inflections_are_near() -> None:
    """Trigrams make `negotiating` a neighbour of `negotiation`, which shares no word with it."""
    asked, inflected, other = await rows("negotiation", "negotiating", "strawberries")
    assert asked @ inflected > 0.2 > abs(asked @ other)


async def test_the_dimension_is_a_choice() -> None:
    """The space says which one was made."""
    answer = await HashingEmbedder(64).embed(["cat"])
    assert (answer.space, answer.vectors.shape, answer.provider) == (Space("hashing", 64), (1, 64), "hashing")


async def test_long_lists_are_hashed_in_chunks() -> None:
    """The chunk a text falls into does not change its row."""
    texts = [f"text number {i}" for i in range(2500)]
    together = await rows(*texts)
    np.testing.assert_array_equal(together[[0, 1023, 1024, 2499]], await rows(*(texts[i] for i in (0, 1023, 1024, 2499))))
