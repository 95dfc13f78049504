"""How well an episode tells what happened: a number in [0, 1], with a reason for every point that is lost (pure).

An episode has four parts: what was perceived, reasoned and done, and what came of it. A part scores by its completeness (the
share of its fields that hold something) times its substance (how many different words and numbers it holds, up to what is
enough for that part): neither makes up for the other. Nothing is read into the words: who fills every field with plausible
nonsense scores high. What the number keeps out of learning are episodes that nothing can be learned from.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import islice
from typing import Final

from app.errors import InvalidInput
from app.records import Episode, Json

_CJK: Final = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_WORD: Final = re.compile(rf"[{_CJK}]|[^\W_{_CJK}]+")
"""A run of letters or digits; where words are not set apart, a character counts as one."""
_PLACEHOLDERS: Final = frozenset({"", "n/a", "na", "null", "nil", "todo", "tbd", "unknown", "undefined", "-", "?", "…", "..."})
_MOST_FIELDS: Final = 2000
"""Of a larger document the first ones are looked at: it is judged on the path of a caller."""
_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class PartWeights:
    """What share of the whole each part is worth; they need not add up to 1."""

    perception: float = 0.30
    reasoning: float = 0.30
    action: float = 0.25
    outcome: float = 0.15


@dataclass(frozen=True, slots=True)
class EnoughWords:
    """How many different words and numbers, names of fields among them, make a part whole."""

    perception: int = 4
    reasoning: int = 6
    action: int = 3
    outcome: int = 2


@dataclass(frozen=True, slots=True)
class QualityPolicy:
    """`threshold`: nothing is learned from episodes below it."""

    weights: PartWeights = PartWeights()
    enough: EnoughWords = EnoughWords()
    threshold: float = 0.7

    def __post_init__(self) -> None:
        """
        Raises:
            InvalidInput: the weights leave nothing to score by.
        """
        weights = [getattr(self.weights, name) for name in PARTS]
        if min(weights) < 0 or sum(weights) <= 0:
            raise InvalidInput("quality weights", "must not be negative, and at least one must be above 0")

    @property
    def shares(self) -> Mapping[str, float]:
        """What each part is worth; all four add up to 1."""
        weights: dict[str, float] = {name: getattr(self.weights, name) for name in PARTS}
        total = sum(weights.values())
        return {name: weight / total for name, weight in weights.items()}


PARTS: Final = tuple(field.name for field in fields(PartWeights))


@dataclass(frozen=True, slots=True)
class QualityReason:
    """Why points were lost. `lost` is part of the whole: all reasons of an episode and its score add up to 1."""

    part: str
    aspect: str
    lost: float
    problem: str


@dataclass(frozen=True, slots=True)
class PartQuality:
    """One part's score in [0, 1], the product of its two aspects, and the share of the whole that it is worth."""

    part: str
    share: float
    completeness: float
    substance: float

    @property
    def score(self) -> float:
        return self.completeness * self.substance


@dataclass(frozen=True, slots=True)
class Quality:
    """What the validator says about an episode."""

    score: float
    parts: tuple[PartQuality, ...]
    reasons: tuple[QualityReason, ...]


def assess(episode: Episode, policy: QualityPolicy) -> Quality:
    """Judge an episode by its documents; the same for the same documents, whatever the order of their keys."""
    shares = policy.shares
    judged = [_judge(part, shares[part], episode, policy.enough) for part in PARTS]
    parts = tuple(part for part, _ in judged)
    reasons = tuple(reason for _, of_part in judged for reason in of_part)
    return Quality(round(sum(part.share * part.score for part in parts), 6), parts, reasons)


def is_learnable(episode: Episode, policy: QualityPolicy) -> bool:
    """Whether anything may be learned from it: it is good enough. One that was never judged is not."""
    return episode.quality is not None and episode.quality >= policy.threshold


def _judge(part: str, share: float, episode: Episode, plenty: EnoughWords) -> tuple[PartQuality, tuple[QualityReason, ...]]:
    document: Json = getattr(episode, part) or {}
    leaves = list(islice(_leaves(document), _MOST_FIELDS))
    if not any(_is_filled(value) for _, value in leaves):
        nothing = QualityReason(part, "completeness", share, f"{part} says nothing")
        return PartQuality(part, share, 0.0, 0.0), (nothing,) if share else ()
    empty = _empty(part, episode, leaves)
    words, enough = _words(leaves), int(getattr(plenty, part))
    expected = len(leaves) + (part == "outcome")
    quality = PartQuality(part, share, 1 - len(empty) / expected, min(1.0, len(words) / enough))
    return quality, tuple(_reasons(quality, empty, f"{len(words)} of {enough} different words or numbers"))


def _empty(part: str, episode: Episode, leaves: list[tuple[str, object]]) -> list[str]:
    """The names of what should have been filled. An outcome is whole only with a judgement of it."""
    empty = [path for path, value in leaves if not _is_filled(value)]
    return [*empty, "outcome_quality"] if part == "outcome" and episode.outcome_quality is None else empty


def _reasons(quality: PartQuality, empty: list[str], words: str) -> Iterator[QualityReason]:
    if empty and quality.share:
        named = ", ".join(sorted(empty)[:_NAMED]) + (" …" if len(empty) > _NAMED else "")
        yield QualityReason(quality.part, "completeness", quality.share * (1 - quality.completeness), f"without a value: {named}")
    if quality.substance < 1 and quality.share:
        lost = quality.share * quality.completeness * (1 - quality.substance)
        yield QualityReason(quality.part, "substance", lost, f"{quality.part} has {words}")


def _leaves(document: Json) -> Iterator[tuple[str, object]]:
    """Every value that is no container, and every empty container, with its path; without recursion, so at any depth."""
    waiting: list[tuple[str, object]] = [("", document)]
    while waiting:
        path, value = waiting.pop()
        inner = _inside(path, value)
        if inner:
            waiting.extend(inner)
        elif path:
            yield path, value


def _inside(path: str, value: object) -> list[tuple[str, object]]:
    if isinstance(value, dict | Mapping):  # the first is told faster
        prefix = f"{path}." if path else ""
        return [(f"{prefix}{key}", item) for key, item in value.items()]
    return [(path, item) for item in value] if isinstance(value, list | tuple) else []


def _is_filled(value: object) -> bool:
    if isinstance(value, str):
        return value.strip().casefold() not in _PLACEHOLDERS
    return value is not None and not isinstance(value, dict | list | tuple | Mapping)


def _words(leaves: list[tuple[str, object]]) -> set[str]:
    """Different ones, of values and of the names of their fields."""
    said = " ".join(f"{path} {value}" for path, value in leaves if _is_filled(value))
    return set(_WORD.findall(said.casefold()))
