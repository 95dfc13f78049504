"""Who a pattern is, and which two are the same in other words (pure)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from app.learning.documents import normal
from app.learning.evidence import confidence_from
from app.records import Episode, Json, Pattern, PatternKind, Scope, derived_uuid

_WORD: Final = re.compile(r"[^\W_]+")
_DROPPED: Final = frozenset({"a", "an", "the", "of", "to", "for", "in", "on", "at", "by", "with", "and", "is", "it", "some"})
_TURNED: Final = frozenset({"not", "no", "never", "without", "dont", "un", "non", "less", "more", "up", "down", "on", "off"})
_ENDINGS: Final = ("ing", "ed", "es", "s")
_SHORTEST_STEM: Final = 3
_WORDY: Final = 3
"""Words of a part from which on another part can share three quarters of them, and not all."""


def pattern(
    kind: PatternKind, episode: Episode, premise: Sequence[str], conclusion: Sequence[str], *, description: str, content: Json
) -> Pattern:
    """The pattern as this one episode supports it. Its id follows from namespace, project, kind and both sides."""
    scope = Scope(episode.scope.namespace, project_id=episode.scope.project_id)
    given, then = tuple(map(normal, premise)), tuple(map(normal, conclusion))
    bags = [stems(part) for part in (*given, *then)]
    whose = (scope.namespace, "" if scope.project_id is None else f"={scope.project_id}")
    return Pattern(
        id=derived_uuid("pattern", *whose, kind.value, *given, "→", *then),
        kind=kind,
        scope=scope,
        family=derived_uuid("family", *whose, kind.value, *given),
        premise=given,
        conclusion=then,
        description=description,
        first_seen_at=episode.ended_at,
        content=content,
        gist=derived_uuid(
            "gist",
            *whose,
            kind.value,
            str(len(given)),
            *(" ".join(sorted(bag)) or part for bag, part in zip(bags, (*given, *then), strict=True)),
        ),
        words=_words(bags),
        confidence=confidence_from(1, 0),
        supporting_episodes=(episode.id,),
        supporters=1,
    )


def _words(bags: Sequence[frozenset[str]]) -> tuple[str, ...]:
    """All words, if a part has enough of them to be nearly another one; a shorter one is the same or not (see `gist`)."""
    return tuple(sorted(frozenset().union(*bags))) if any(len(bag) >= _WORDY for bag in bags) else ()


def similarity(one: Pattern, other: Pattern) -> float:
    """How far two patterns say the same, from 0 to 1: the Jaccard coefficient of the words of their least similar parts."""
    if _shape(one) != _shape(other):
        return 0.0
    parts = zip((*one.premise, *one.conclusion), (*other.premise, *other.conclusion), strict=True)
    return min((part_similarity(left, right) for left, right in parts), default=1.0)


def part_similarity(left: str, right: str) -> float:
    """1 for the same words, whatever their order, endings and articles.

    0 where a number differs, or a word that turns the meaning around: "backlog >= 20" is not nearly "backlog >= 50".
    """
    if left == right:
        return 1.0
    mine, theirs = stems(left), stems(right)
    differing = mine ^ theirs
    if not mine or not theirs or any(word in _TURNED or any(c.isdigit() for c in word) for word in differing):
        return 0.0
    return len(mine & theirs) / len(mine | theirs)


@lru_cache(maxsize=4096)
def stems(text: str) -> frozenset[str]:
    words = _WORD.findall(text.casefold())
    return frozenset(_stem(word) for word in words if word not in _DROPPED or word in _TURNED)


def _stem(word: str) -> str:
    """Without its ending, a doubled consonant and a mute e: cut, cuts, cutting; release, released, releasing."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _SHORTEST_STEM and not word.endswith("ss"):
            word = word[: -len(ending)]
            break
    if len(word) > _SHORTEST_STEM and word[-1] == word[-2] and word[-1] not in "ls":
        word = word[:-1]
    return word[:-1] if word.endswith("e") and len(word) > _SHORTEST_STEM else word


def _shape(given: Pattern) -> tuple[object, ...]:
    return (given.kind, given.scope, len(given.premise), len(given.conclusion))
