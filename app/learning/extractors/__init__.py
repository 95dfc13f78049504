"""What can be seen in one episode: extractors behind one protocol, each on its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from app.learning.extractors.decision_points import DecisionPoints
from app.learning.extractors.error_recoveries import ErrorRecoveries
from app.learning.extractors.outcomes import ContextOutcomes
from app.learning.extractors.tool_sequences import ToolSequences
from app.observability import BACKGROUND_ERRORS
from app.records import Episode, Json, Pattern

log = structlog.get_logger(__name__)


class Extractor(Protocol):
    """Looks at one closed episode and its steps. Pure: the same episode gives the same patterns."""

    @property
    def name(self) -> str: ...

    def extract(self, episode: Episode, steps: Sequence[Json]) -> tuple[Pattern, ...]:
        """The patterns that this episode is evidence of, each once, supported by it alone."""
        ...


@dataclass(frozen=True, slots=True)
class Extracted:
    """What all extractors found in an episode, and the names of those that failed at it."""

    patterns: tuple[Pattern, ...]
    failed: tuple[str, ...] = ()


EXTRACTORS: Final[tuple[Extractor, ...]] = (ToolSequences(), DecisionPoints(), ErrorRecoveries(), ContextOutcomes())


def extract(extractors: Sequence[Extractor], episode: Episode, steps: Sequence[Json]) -> Extracted:
    """Ask every extractor. One that fails is logged and counted, and the others' patterns are there nevertheless."""
    found: dict[object, Pattern] = {}
    failed: list[str] = []
    for extractor in extractors:
        try:
            found.update((pattern.id, pattern) for pattern in extractor.extract(episode, steps))
        except Exception:  # whatever an agent wrote into an episode, the other extractors go on
            failed.append(extractor.name)
            BACKGROUND_ERRORS.labels(f"extract_{extractor.name}").inc()
            log.exception("extractor_failed", extractor=extractor.name, episode=str(episode.id))
    return Extracted(tuple(found.values()), tuple(failed))
