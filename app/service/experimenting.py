"""The façade: experiments and trends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from app.errors import InvalidInput
from app.ingestion.experiments import admit_experiment, admit_observations
from app.ingestion.limits import check_count, check_label
from app.records import (
    FEEDBACK,
    Analysis,
    Arm,
    Experiment,
    ExperimentState,
    ObservationDraft,
    ObservationReceipt,
    Trends,
)
from app.service.parts import Side

_TREND_DAYS: Final = (7, 30)


class Experimenting(Side):
    """Try settings side by side, see what they are worth, and how things have been going."""

    async def create_experiment(self, experiment: Experiment) -> Experiment:
        """Keep a new experiment, as a draft that changes no search yet. The same one again is the same one.

        Raises:
            Conflict: the name is taken in the namespace.
        """
        return await self._parts.experiments.create(admit_experiment(experiment, self._parts.limits))

    async def get_experiment(self, namespace: str, name: str) -> Experiment:
        self._check_experiment(namespace, name)
        return await self._parts.experiments.get(namespace, name)

    async def list_experiments(
        self, namespace: str, *, state: ExperimentState | None = None, after: str = "", limit: int = 50
    ) -> tuple[Experiment, ...]:
        """By name; `after` is the last name of the page before."""
        check_label("namespace", namespace, self._parts.limits)
        check_count("limit", limit, self._parts.limits.results)
        if after:
            check_label("after", after, self._parts.limits)
        return await self._parts.experiments.page(namespace, state=state, after=after, limit=limit)

    async def start_experiment(self, namespace: str, name: str) -> Experiment:
        """Let searches take part from now on.

        Raises:
            Conflict: it was stopped.
        """
        self._check_experiment(namespace, name)
        return await self._parts.experiments.start(namespace, name)

    async def stop_experiment(self, namespace: str, name: str) -> Experiment:
        """Let no more searches take part; outcomes of those that did still count."""
        self._check_experiment(namespace, name)
        return await self._parts.experiments.stop(namespace, name)

    async def assign(self, namespace: str, name: str, subject: str) -> Arm:
        """The variant that the subject gets, for whoever applies settings of their own; no exposure is noted."""
        self._check_experiment(namespace, name)
        check_label("subject", subject, self._parts.limits)
        return await self._parts.experiments.arm(namespace, name, subject)

    async def observe(self, namespace: str, name: str, observations: Sequence[ObservationDraft]) -> ObservationReceipt:
        """Record values of a metric that were seen of subjects, all or none; one with an id counts once.

        Raises:
            Conflict: the experiment has not been started.
        """
        self._check_experiment(namespace, name)
        admitted = admit_observations(observations, self._parts.limits)
        return await self._parts.experiments.observe(namespace, name, admitted)

    async def observe_search(
        self, namespace: str, search_id: UUID, value: float, *, metric: str = FEEDBACK, observation_id: UUID | None = None
    ) -> int:
        """Record a value seen of whoever this search exposed to a variant, such as feedback; returns how many these are."""
        check_label("namespace", namespace, self._parts.limits)
        admit_observations([ObservationDraft("subject", value, metric)], self._parts.limits)
        return await self._parts.experiments.observe_search(namespace, search_id, metric, value, observation_id=observation_id)

    async def analyse_experiment(self, namespace: str, name: str, *, metric: str | None = None) -> Analysis:
        """Effects with their bounds and a recommendation, as often as you like: looking again and again deceives nobody."""
        self._check_experiment(namespace, name)
        if metric is not None:
            check_label("metric", metric, self._parts.limits)
        return await self._parts.experiments.analyse(namespace, name, metric)

    async def trends(self, *, namespace: str | None = None, days: int = 7) -> Trends:
        """Quality, recall latency and error rate over the last 7 or 30 days, of a namespace or of all."""
        self._check_namespace(namespace)
        if days not in _TREND_DAYS:
            raise InvalidInput("days", f"must be {' or '.join(map(str, _TREND_DAYS))}, is {days}")
        return await self._parts.trends.over(days, namespace)

    async def retire_usage(self) -> int:
        """Drop daily figures that are out of every report; returns how many."""
        return await self._parts.search_log.retire()

    def _check_experiment(self, namespace: str, name: str) -> None:
        check_label("namespace", namespace, self._parts.limits)
        check_label("name", name, self._parts.limits)
