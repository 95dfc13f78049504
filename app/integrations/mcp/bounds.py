"""How much a tool may answer (pure): a model's context is small, and what is cut says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

MOST_RESULTS: Final = 50
DEFAULT_RESULTS: Final = 8
MOST_TEXT_BYTES: Final = 2_000
"""Of one record's text."""
MOST_ANSWER_BYTES: Final = 24_000
"""Of all texts of an answer together: about 6,000 tokens of English."""
MOST_CONTEXT_TOKENS: Final = 8_000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Bounded:
    """Texts within the bounds, from the front, and how many were cut or left out."""

    texts: tuple[str, ...]
    cut: int
    left_out: int

    @property
    def note(self) -> str | None:
        """What was lost, for the model to read; None if nothing was."""
        parts = [f"{self.cut} texts were cut to {MOST_TEXT_BYTES} bytes"] if self.cut else []
        parts += [f"{self.left_out} results were left out: ask more narrowly, or for fewer"] if self.left_out else []
        return "; ".join(parts) or None


def bounded(texts: Sequence[str]) -> Bounded:
    """Cut each text, and leave out what then exceeds the answer."""
    kept: list[str] = []
    spent = cut = 0
    for text in texts:
        short = cut_to(text, MOST_TEXT_BYTES)
        spent += len(short.encode())
        if spent > MOST_ANSWER_BYTES:
            break
        kept.append(short)
        cut += short is not text
    return Bounded(tuple(kept), cut, len(texts) - len(kept))


def cut_to(text: str, most_bytes: int) -> str:
    """The text itself if it fits, else its beginning and how much is missing; never half a character."""
    encoded = text.encode()
    if len(encoded) <= most_bytes:
        return text
    kept = encoded[:most_bytes].decode(errors="ignore")
    return f"{kept} … [{len(encoded) - len(kept.encode())} more bytes]"
