"""Counting tokens without a tokenizer: the budget arithmetic of context, segmentation and windows."""

from __future__ import annotations

import re
from typing import Final

_TOKEN: Final = re.compile(r"\w{1,5}|[^\w\s]")
"""A word of up to five characters is one token; longer ones split. Calibrated on English subword vocabularies."""


def estimate_tokens(text: str) -> int:
    """An upper-leaning estimate of the number of subword tokens in `text`; 0 for the empty string."""
    return len(_TOKEN.findall(text))
