"""Why a hit was chosen, in words (pure): each term of its score that says something to a person, the weightiest first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from app.records import Hit

_CLOSE: Final = 0.6
_RELATED: Final = 0.3
"""Cosines of MiniLM: sentences that say the same in other words are mostly above the first, such as have nothing in common
mostly below the second."""


def reasons(hit: Hit) -> tuple[str, ...]:
    """Like `("means much the same (+0.71)", "turned out well: outcome quality 0.90 (+0.12)")`."""
    weighty = sorted(hit.components.items(), key=lambda term: -abs(term[1]))
    return tuple(f"{_worded(name, gain, hit)} ({gain:+.2f})" for name, gain in weighty if gain)


def _worded(name: str, gain: float, hit: Hit) -> str:
    worded = _WORDINGS.get(name)
    return name.replace("_", " ") if worded is None else worded(gain, hit)


def _meaning(gain: float, _: Hit) -> str:
    if gain >= _CLOSE:
        return "means much the same"
    return "is about something similar" if gain >= _RELATED else "has little in common in meaning"


def _outcome(gain: float, hit: Hit) -> str:
    known = "" if hit.outcome_quality is None else f": outcome quality {hit.outcome_quality:.2f}"
    return f"turned out {'well' if gain > 0 else 'badly'}{known}"


def _quality(_: float, hit: Hit) -> str:
    return "was logged well" if hit.quality is None else f"was logged well: quality {hit.quality:.2f}"


def _feedback(gain: float, _: Hit) -> str:
    return "callers found it useful" if gain > 0 else "callers found it wrong, outdated or harmful"


_WORDINGS: Final[Mapping[str, Callable[[float, Hit], str]]] = {
    "dense": _meaning,
    "bm25": lambda *_: "shares words with it",
    "text": lambda *_: "shares words with it, by full text",
    "outcome": _outcome,
    "quality": _quality,
    "feedback": _feedback,
    "recency": lambda *_: "is recent",
    "date": lambda *_: "is of a time that is named",
    "session": lambda *_: "has others like it in its session",
    "space": lambda *_: "was embedded by another model, and is ranked by words",
}
