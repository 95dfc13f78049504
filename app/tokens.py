"""Counting tokens without a tokenizer: the budget arithmetic of context, segmentation and windows."""

from __future__ import annotations

import re
from typing import Final

_PIECE: Final = re.compile(r"\w+|[^\w\s]")
_CHARACTERS_PER_TOKEN: Final = 5
"""A word of up to this many characters is one token; longer ones split. Calibrated on English subword vocabularies."""


def estimate_tokens(text: str) -> int:
    """An upper-leaning estimate of the number of subword tokens in `text`; 0 for the empty string."""
    return sum(-(-len(piece) // _CHARACTERS_PER_TOKEN) for piece in _PIECE.findall(text))
