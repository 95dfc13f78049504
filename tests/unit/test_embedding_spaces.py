"""Names of models, and the spaces their vectors live in."""

from __future__ import annotations

import numpy as np
import pytest

from app.embedding.spaces import MINILM, canonical_model, known_space, unit_rows
from app.records import Space


@pytest.mark.parametrize(
    "name",
    [
        "all-minilm",
        "all-minilm:latest",
        "all-minilm:22m",
        "all-minilm:l6-v2",
        "all-MiniLM-L6-v2",
        "sentence-transformers/all-MiniLM-L6-v2",
    ],
)
def test_one_model_has_one_space_whoever_serves_it(name: str) -> None:
    """Ollama's default, its tags and the hub's name are the packaged model."""
    assert known_space(name) == MINILM == Space("all-minilm-l6-v2", 384)


@pytest.mark.parametrize("name", ["all-minilm:33m", "ana/all-minilm", "models/all-MiniLM-L6-v2", "all-minilm-l6-v3"])
def test_another_model_is_not_taken_for_it(name: str) -> None:
    """A sibling's tag, somebody's own copy or a directory of that name may hold other weights."""
    assert known_space(name) != MINILM


def test_an_unknown_model_keeps_its_name() -> None:
    """Its dimension is not guessed."""
    assert (canonical_model("Acme/Embed:latest"), known_space("Acme/Embed:latest")) == ("acme/embed", None)


def test_rows_are_scaled_and_never_zero() -> None:
    """A row of zeros becomes the first axis; tiny and huge rows keep their direction."""
    vectors = np.array([[3, 4], [0, 0], [0, 1e-30], [-1e30, 0]], np.float32)
    np.testing.assert_allclose(unit_rows(vectors), np.array([[0.6, 0.8], [1, 0], [0, 1], [-1, 0]]), atol=1e-6)
