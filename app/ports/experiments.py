"""Where experiments, what was seen in them, and the daily figures of trends are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Protocol
from uuid import UUID

from app.records import DayValue, Experiment, ExperimentState, Exposure, Metric, Observation, Sample, Scope, SearchUsage


class ExperimentStore(Protocol):
    """Every method may raise `TierUnavailable("episodic", …)`."""

    async def create(self, experiment: Experiment) -> Experiment:
        """Keep a new experiment. One with the same id is left as it is and returned.

        Raises:
            Conflict: its name is taken in its namespace.
        """
        ...

    async def find(self, namespace: str, name: str) -> Experiment | None: ...

    async def page(self, namespace: str, *, state: ExperimentState | None, after: str, limit: int) -> tuple[Experiment, ...]:
        """By name; `after` is the last one of the page before, "" for the first page."""
        ...

    async def change_state(
        self, experiment_id: UUID, *, former: Sequence[ExperimentState], state: ExperimentState, at: datetime
    ) -> bool:
        """Move on to `state`, noting when; False, and nothing is changed, unless it is in one of the `former`."""
        ...

    async def record_exposures(self, exposures: Sequence[Exposure]) -> None:
        """Keep those that are not there yet, by (experiment, subject, search). Those of experiments that are gone are dropped."""
        ...

    async def exposures_of(self, namespace: str, search_id: UUID) -> tuple[Exposure, ...]:
        """What this search exposed whom to. Feedback that names a search finds its subjects here."""
        ...

    async def record_observations(self, observations: Sequence[Observation]) -> None:
        """Keep those whose id is not there yet."""
        ...

    async def samples(self, experiment: Experiment, metric: Metric) -> tuple[Sample, ...]:
        """Of each variant with subjects, by name: how many searched, how many have a value of the metric, and their values.

        For `OUTCOME_QUALITY` a subject's episodes count beside what was observed: those that ended after its first search
        and belong to it, as its session, user or agent or because `metadata.experiment` says {"name", "subject"}.
        """
        ...

    async def forget(self, scope: Scope) -> int:
        """Drop what `scope` admits: a namespace's experiments with all that was seen, or one session's, user's or agent's
        part in them; returns how many exposures and observations. A scope that names several of these names their overlap,
        of which nothing is kept."""
        ...


class TrendStore(Protocol):
    """Daily figures. Every method may raise `TierUnavailable("episodic", …)`. Days are UTC."""

    async def save_usage(self, process: UUID, usage: Sequence[SearchUsage]) -> None:
        """Replace what this process said of these days and namespaces before: saying it again changes nothing."""
        ...

    async def usage(self, namespace: str | None, *, since: date) -> tuple[SearchUsage, ...]:
        """What all processes saw from `since` on, added up: one a day, oldest first; of a namespace, or of all (None)."""
        ...

    async def quality(self, namespace: str | None, *, since: date) -> Mapping[str, tuple[DayValue, ...]]:
        """The daily means of `quality` and `outcome_quality` of episodes by the day they ended, oldest first."""
        ...

    async def retire_usage(self, before: date) -> int:
        """Drop days before then; returns how many rows."""
        ...
