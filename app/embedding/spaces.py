"""Which names mean the same model, and which embedding space its vectors live in. Pure."""

from __future__ import annotations

from typing import Final

import numpy as np

from app.records import Embedded, Matrix, Space

MINILM: Final = Space("all-minilm-l6-v2", 384)
MINILM_SHA256: Final = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of the published `sentence-transformers/all-MiniLM-L6-v2` weights (`model.safetensors`)."""

_CANONICAL: Final = {
    "all-minilm": "all-minilm-l6-v2",
    "all-minilm:22m": "all-minilm-l6-v2",
    "all-minilm:l6-v2": "all-minilm-l6-v2",
    "sentence-transformers/all-minilm-l6-v2": "all-minilm-l6-v2",
    "all-minilm:33m": "all-minilm-l12-v2",
    "all-minilm:l12-v2": "all-minilm-l12-v2",
    "sentence-transformers/all-minilm-l12-v2": "all-minilm-l12-v2",
    "sentence-transformers/all-mpnet-base-v2": "all-mpnet-base-v2",
    "baai/bge-m3": "bge-m3",
    "mixedbread-ai/mxbai-embed-large-v1": "mxbai-embed-large",
}
"""Ollama's and the hub's names for one set of weights. Anything else is only ever the same as itself."""
_DIMENSIONS: Final = {
    "all-minilm-l6-v2": 384,
    "all-minilm-l12-v2": 384,
    "all-mpnet-base-v2": 768,
    "bge-m3": 1024,
    "mxbai-embed-large": 1024,
    "nomic-embed-text": 768,
}


def canonical_model(name: str) -> str:
    """One name for a model, whoever serves it: `all-minilm` and `sentence-transformers/all-MiniLM-L6-v2` are one."""
    lowered = name.strip().lower().removesuffix(":latest")
    return _CANONICAL.get(lowered, lowered)


def known_space(name: str) -> Space | None:
    """The space of a well-known model, without asking anybody; None for others, whose dimension has to be learned."""
    model = canonical_model(name)
    dimension = _DIMENSIONS.get(model)
    return None if dimension is None else Space(model, dimension)


def unit_rows(vectors: Matrix) -> Matrix:
    """Rows scaled to length one. A zero row, which has no direction, becomes the first axis."""
    exact = vectors.astype(np.float64)  # squares of large or tiny float32 numbers do not fit into float32
    norms = np.linalg.norm(exact, axis=1, keepdims=True)
    is_zero = norms[:, 0] == 0
    exact[is_zero, 0] = 1
    norms[is_zero] = 1
    scaled: Matrix = (exact / norms).astype(np.float32)
    return scaled


def nothing_embedded(space: Space, provider: str) -> Embedded:
    """The answer to no texts."""
    return Embedded(space, np.empty((0, space.dimension), np.float32), provider)
