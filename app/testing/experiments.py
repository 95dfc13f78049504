"""The in-memory twins of `ExperimentStore` and `TrendStore`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from itertools import zip_longest
from statistics import fmean, variance
from typing import Final
from uuid import UUID

from app.errors import Conflict
from app.ports import EpisodicMemory
from app.records import (
    OUTCOME_QUALITY,
    DayValue,
    Episode,
    Experiment,
    ExperimentState,
    Exposure,
    Metric,
    Observation,
    Sample,
    Scope,
    SearchUsage,
)

_ALL: Final = 1_000_000


class InMemoryExperiments:
    """Keeps them as long as the object lives; outcomes are read from the tier 2 it is given."""

    def __init__(self, episodic: EpisodicMemory) -> None:
        self._episodic = episodic
        self._experiments: dict[UUID, Experiment] = {}
        self._exposures: dict[tuple[UUID, str, UUID], Exposure] = {}
        self._observations: dict[UUID, Observation] = {}

    async def create(self, experiment: Experiment) -> Experiment:
        if experiment.id in self._experiments:
            return self._experiments[experiment.id]
        if await self.find(experiment.namespace, experiment.name) is not None:
            raise Conflict("name", f"{experiment.name!r} is taken by another experiment in this namespace")
        self._experiments[experiment.id] = experiment
        return experiment

    async def find(self, namespace: str, name: str) -> Experiment | None:
        found = (e for e in self._experiments.values() if (e.namespace, e.name) == (namespace, name))
        return next(found, None)

    async def page(self, namespace: str, *, state: ExperimentState | None, after: str, limit: int) -> tuple[Experiment, ...]:
        asked = (e for e in self._experiments.values() if e.namespace == namespace and state in {None, e.state})
        return tuple(sorted((e for e in asked if e.name > after), key=lambda e: e.name)[:limit])

    async def change_state(
        self, experiment_id: UUID, *, former: Sequence[ExperimentState], state: ExperimentState, at: datetime
    ) -> bool:
        known = self._experiments.get(experiment_id)
        if known is None or known.state not in former:
            return False
        is_start = state is ExperimentState.RUNNING
        moved = replace(known, state=state, started_at=at) if is_start else replace(known, state=state, stopped_at=at)
        self._experiments[experiment_id] = moved
        return True

    async def record_exposures(self, exposures: Sequence[Exposure]) -> None:
        for exposure in exposures:
            if exposure.experiment_id in self._experiments:
                self._exposures.setdefault((exposure.experiment_id, exposure.subject, exposure.search_id), exposure)

    async def exposures_of(self, namespace: str, search_id: UUID) -> tuple[Exposure, ...]:
        return tuple(e for e in self._exposures.values() if (e.namespace, e.search_id) == (namespace, search_id))

    async def record_observations(self, observations: Sequence[Observation]) -> None:
        for observation in observations:
            self._observations.setdefault(observation.id, observation)

    async def samples(self, experiment: Experiment, metric: Metric) -> tuple[Sample, ...]:
        exposed = self._exposed(experiment.id)
        values: dict[tuple[str, str], list[float]] = defaultdict(list)
        for seen in self._observations.values():
            if (seen.experiment_id, seen.metric) == (experiment.id, metric.name):
                values[seen.variant, seen.subject].append(seen.value)
        if metric.name == OUTCOME_QUALITY:
            for variant, subject, quality in await self._outcomes(experiment, exposed):
                values[variant, subject].append(quality)
        variants = sorted({e.variant for e in exposed.values()} | {variant for variant, _ in values})
        return tuple(_sample(v, exposed.values(), [fmean(s) for (of, _), s in values.items() if of == v]) for v in variants)

    def _exposed(self, experiment_id: UUID) -> dict[str, Exposure]:
        """Each subject's first exposure."""
        mine = sorted((e for e in self._exposures.values() if e.experiment_id == experiment_id), key=lambda e: e.at)
        return {exposure.subject: exposure for exposure in reversed(mine)}

    async def _outcomes(self, experiment: Experiment, exposed: Mapping[str, Exposure]) -> list[tuple[str, str, float]]:
        async with self._episodic.reading() as reader:
            everywhere = Scope(experiment.namespace)
            episodes = await reader.list_episodes(everywhere, kind=None, before=None, limit=_ALL, archived=None)
        return [
            (exposed[subject].variant, subject, episode.outcome_quality)
            for episode in episodes
            for subject in _subjects(experiment, episode)
            if episode.outcome_quality is not None and subject in exposed and episode.ended_at >= exposed[subject].at
        ]

    async def forget(self, scope: Scope) -> int:
        mine = {e.id: e for e in self._experiments.values() if e.namespace == scope.namespace}
        exposures = {key for key, seen in self._exposures.items() if _goes(scope, mine, seen)}
        observations = {key for key, seen in self._observations.items() if _goes(scope, mine, seen)}
        self._exposures = {key: seen for key, seen in self._exposures.items() if key not in exposures}
        self._observations = {key: seen for key, seen in self._observations.items() if key not in observations}
        if scope == Scope(scope.namespace):
            self._experiments = {key: e for key, e in self._experiments.items() if key not in mine}
        return len(exposures) + len(observations)


class InMemoryTrends:
    """Keeps usage as long as the object lives; quality is read from the tier 2 it is given."""

    def __init__(self, episodic: EpisodicMemory, namespaces: Sequence[str] = ()) -> None:
        self._episodic = episodic
        self._namespaces = namespaces
        self._said: dict[tuple[date, str, UUID], SearchUsage] = {}

    async def save_usage(self, process: UUID, usage: Sequence[SearchUsage]) -> None:
        self._said |= {(u.day, u.namespace, process): u for u in usage}

    async def usage(self, namespace: str | None, *, since: date) -> tuple[SearchUsage, ...]:
        asked = [u for u in self._said.values() if u.day >= since and namespace in {None, u.namespace}]
        return tuple(_added(namespace or "", [u for u in asked if u.day == day]) for day in sorted({u.day for u in asked}))

    async def quality(self, namespace: str | None, *, since: date) -> Mapping[str, tuple[DayValue, ...]]:
        homes = self._namespaces if namespace is None else [namespace]
        async with self._episodic.reading() as reader:
            pages = [await reader.list_episodes(Scope(h), kind=None, before=None, limit=_ALL, archived=None) for h in homes]
        recent = [e for page in pages for e in page if e.ended_at.date() >= since]
        return {name: _daily(recent, name) for name in ("quality", "outcome_quality")}

    async def retire_usage(self, before: date) -> int:
        going = {key for key in self._said if key[0] < before}
        self._said = {key: usage for key, usage in self._said.items() if key not in going}
        return len(going)


def _subjects(experiment: Experiment, episode: Episode) -> set[str]:
    """Whom the episode belongs to: by its scope, and by what its metadata says."""
    said = episode.metadata.get("experiment")
    is_named = isinstance(said, dict) and said.get("name") == experiment.name
    named = said.get("subject") if isinstance(said, dict) and is_named else None
    return {s for s in (experiment.unit.subject_in(episode.scope), named) if isinstance(s, str)}


def _goes(scope: Scope, experiments: Mapping[UUID, Experiment], seen: Exposure | Observation) -> bool:
    experiment = experiments.get(seen.experiment_id)
    if experiment is None or scope == Scope(scope.namespace):
        return experiment is not None
    owner = experiment.unit.subject_in(scope)
    return owner == seen.subject and scope == Scope(scope.namespace, **{f"{experiment.unit.value}_id": owner})


def _sample(variant: str, exposed: Iterable[Exposure], values: Sequence[float]) -> Sample:
    return Sample(
        variant=variant,
        exposed=sum(e.variant == variant for e in exposed),
        subjects=len(values),
        mean=fmean(values) if values else 0.0,
        variance=variance(values) if len(values) > 1 else 0.0,
        is_binary=bool(values) and all(value in {0, 1} for value in values),
    )


def _added(namespace: str, usages: Sequence[SearchUsage]) -> SearchUsage:
    return SearchUsage(
        namespace,
        usages[0].day,
        sum(u.searches for u in usages),
        sum(u.failed for u in usages),
        sum(u.degraded for u in usages),
        sum(u.latency_ms for u in usages),
        tuple(map(sum, zip_longest(*(u.buckets for u in usages), fillvalue=0))),
    )


def _daily(episodes: Sequence[Episode], name: str) -> tuple[DayValue, ...]:
    by_day: dict[date, list[float]] = defaultdict(list)
    for episode in episodes:
        if (value := getattr(episode, name)) is not None:
            by_day[episode.ended_at.date()].append(value)
    return tuple(DayValue(day, fmean(values), len(values)) for day, values in sorted(by_day.items()))
